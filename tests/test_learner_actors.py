"""Learners on a Ray cluster: those of processes, wherever they are, and resumed after a lost node or driver."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.storage import checkpoint
from gymnast.training.learner_actors import Actors
from gymnast.training.train import train
from tests.test_learner_runs import PPO, options, records
from tests.test_ray import cluster

pytest.importorskip("ray")
WORDS = ["train", "ppo", "--env", "CartPole-v1", "--learners", "2", "--num-envs", "4", "--steps", "100", "--no-video"]


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*WORDS, "--out", str(tmp_path), "--ray", "local"]) == 2
    assert capsys.readouterr().err == 'gymnast: --ray needs ray: pip install "gymnast[ray]"\n'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_actors_learn_what_processes_do(tmp_path: Path) -> None:
    runs = [
        train("ppo", options(tmp_path / str(ray), learners=2, ray=ray, checkpoint_every=500), PPO)
        for ray in (None, "local")
    ]
    assert [run.exit_code for run in runs] == [0, 0]
    assert records(runs[0].path, "train") == records(runs[1].path, "train")


def test_a_cluster_without_room_is_refused() -> None:
    connection = SimpleNamespace(ray=None, room_for=lambda needs: 1)
    with pytest.raises(UsageError, match="room for 1 of 3 more learners, each with a CPU and GPU"):
        Actors(connection, count=3, gpu=True)  # type: ignore[arg-type]


def wait_for(path: Path, driver: "subprocess.Popen[Any]") -> None:
    over = time.monotonic() + 120
    while not list(path.glob("**/last.pt")):
        assert driver.poll() is None
        assert time.monotonic() < over
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.long
def test_a_lost_node_or_driver_ends_a_run_that_resumes_exactly(tmp_path: Path) -> None:
    """Three other learners on three nodes, of which one is lost; then on three others, where the command is killed."""
    plain: dict[str, Any] = {"learners": 4, "steps": 3_000, "checkpoint_every": 500}
    whole = train("ppo", options(tmp_path / "whole", **plain), PPO)
    path = tmp_path / "torn" / "CartPole-v1" / "ppo" / "run"
    command = [sys.executable, "-m", "gymnast"]
    given = ["train", "ppo", "--env", "CartPole-v1", "--num-envs", "4", "--learners", "4", "--steps", "3000"]
    given += ["--checkpoint-every", "500", "--log-every", "250", "--no-video", "--eval-episodes", "2", "--name", "run"]
    given += ["--rollout-steps", "32", "--minibatches", "2", "--epochs", "2", "--normalise-obs", "--normalise-rewards"]
    given += ["--out", str(tmp_path / "torn")]
    with cluster(nodes=2) as (address, nodes):
        assert nodes.stdin is not None
        driver = subprocess.Popen(
            [*command, *given, "--ray", address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_for(path, driver)
        nodes.stdin.write("\n")
        nodes.stdin.flush()
        said, _ = driver.communicate(timeout=120)
        assert driver.returncode == 1, said
        assert "Traceback" not in said
        assert "gymnast resume" in said
    with cluster(nodes=2) as (address, _):
        driver = subprocess.Popen(
            [*command, "resume", str(path), "--ray", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = checkpoint.read(path / "checkpoints" / "last.pt")[0].env_step
        over = time.monotonic() + 120
        while driver.poll() is None and checkpoint.read(path / "checkpoints" / "last.pt")[0].env_step == before:
            assert time.monotonic() < over
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        done = subprocess.run(
            [*command, "resume", str(path), "--ray", address], capture_output=True, encoding="utf-8", timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert records(path, "train") == records(whole.path, "train")
