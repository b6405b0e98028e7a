"""Runs of several learners: as a run of one, resumed exactly, and ended by a signal or a lost learner in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gymnast.agents import ActorCriticConfig
from gymnast.cli.main import main
from gymnast.envs.errors import EnvError
from gymnast.errors import UsageError
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint
from gymnast.training.train import resume, train
from tests.spawned import eventually, gone, spawned

PPO = ActorCriticConfig(rollout_steps=32, minibatches=2, epochs=2, normalise_obs=True, normalise_rewards=True)
FAILING = """
import multiprocessing
from gymnasium.envs.classic_control import CartPoleEnv

class Failing(CartPoleEnv):
    def step(self, action):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps > 200 and multiprocessing.parent_process() is not None:
            raise OSError("no more")
        return super().step(action)
"""
ALONE = """
import multiprocessing
from gymnasium.envs.classic_control import CartPoleEnv

class Failing(CartPoleEnv):
    def __init__(self, **options):
        super().__init__(**options)
        if multiprocessing.parent_process() is not None:
            raise OSError("no more")
"""


def options(out: Path, **changes: Any) -> TrainOptions:
    plain = {"env": "CartPole-v1", "num_envs": 4, "steps": 1_000, "video": False, "name": "run", "log_every": 250}
    return TrainOptions(**(plain | {"out": str(out), "eval_episodes": 2} | changes))


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    """The numbers of the records of a kind."""
    found = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{**record, "kind": 0} for record in found if record["kind"] == kind]


def same(one: Any, other: Any) -> bool:
    """Whether two parts of a checkpoint are equal."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


@pytest.mark.slow
def test_a_run_of_two_is_that_of_one_and_resumes_exactly(tmp_path: Path) -> None:
    """The whole run, and one that stops in the middle of a rollout; both count and log the steps of all."""
    alone = train("ppo", options(tmp_path / "alone"), PPO)
    whole = train("ppo", options(tmp_path / "whole", learners=2, checkpoint_every=600), PPO)
    assert (whole.exit_code, whole.env_step) == (0, 1_000)
    for one, two in zip(records(alone.path, "train"), records(whole.path, "train"), strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-5)
    first, second = (checkpoint.read(run.path / "checkpoints" / "last.pt")[1] for run in (alone, whole))
    assert "learners" not in first
    for name, value in first["agent"]["network"].items():
        torch.testing.assert_close(second["agent"]["network"][name], value, rtol=1e-4, atol=1e-5)
    torn = train("ppo", options(tmp_path / "torn", learners=2, steps=600), PPO)
    assert resume(torn.path, steps=1_000).exit_code == 0
    about, again = checkpoint.read(torn.path / "checkpoints" / "last.pt")
    assert about.env_step == 1_000
    assert records(torn.path, "train") == records(whole.path, "train")
    assert all(same(again[name], second[name]) for name in ("agent", "actor", "env", "loop", "learners", "torch_rng"))
    rewritten = json.loads((torn.path / "config.json").read_text(encoding="utf-8"))
    rewritten["run"]["learners"] = 4
    (torn.path / "config.json").write_text(json.dumps(rewritten), encoding="utf-8", newline="\n")
    with pytest.raises(UsageError, match=r"learners must be 2, with which .* was trained, got 4"):
        resume(torn.path, steps=1_200)


@pytest.mark.slow
@pytest.mark.long
def test_in_worker_processes_and_with_recurrence(tmp_path: Path) -> None:
    """A learner's environments may be processes of its own; memory is a part of what it keeps."""
    config = replace(PPO, recurrent="gru", memory_size=8, normalise_rewards=False)
    runs = [
        train("ppo", options(tmp_path / str(number), learners=number, steps=300, vectorization="async"), config)
        for number in (1, 2)
    ]
    one, two = (records(run.path, "train")[-1] for run in runs)
    assert two == pytest.approx(one, rel=1e-3, abs=1e-5)


def started(tmp_path: Path, *more: str, env: str = "CartPole-v1") -> tuple[subprocess.Popen[str], Path]:
    """A run without an end, once it has written a checkpoint."""
    command = [sys.executable, "-m", "gymnast", "train", "ppo", "--env", env, "--steps", "100000000"]
    command += ["--learners", "2", "--num-envs", "4", "--rollout-steps", "32", "--log-every", "500"]
    command += ["--out", str(tmp_path / "runs"), "--name", "run", "--no-video", "--eval-episodes", "2", *more]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        start_new_session=True,
    )
    folder = tmp_path / "runs"
    eventually(lambda: process.poll() is not None or bool(list(folder.glob("**/last.pt"))))
    return process, folder / env / "ppo" / "run"


@pytest.mark.slow
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
def test_a_signal_to_all_stops_them_after_the_same_update(tmp_path: Path, number: int) -> None:
    process, path = started(tmp_path, "--checkpoint-every", "1000")
    left = spawned(process)
    assert len(left) == 1
    os.killpg(process.pid, number)  # as a terminal or a job scheduler does
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "to continue: gymnast resume" in text
    eventually(lambda: gone(left))
    about, content = checkpoint.read(path / "checkpoints" / "last.pt")
    assert about.env_step % (4 * 32) == 0 or about.env_step % 500 == 0  # a rollout's end, or a pause for a log
    assert len(content["learners"]) == 1
    again = resume(path, steps=about.env_step + 200)
    assert (again.exit_code, again.env_step) == (0, about.env_step + 200)


@pytest.mark.slow
def test_a_lost_learner_is_named_and_the_last_checkpoint_kept(tmp_path: Path) -> None:
    process, path = started(tmp_path, "--checkpoint-every", "1000")
    left = spawned(process)
    left[0].kill()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"learner 1 (pid {left[0].pid}) was killed by SIGKILL" in text
    assert "Traceback" not in text
    assert "to continue: gymnast resume" in text
    about, _ = checkpoint.read(path / "checkpoints" / "last.pt")
    assert resume(path, steps=about.env_step + 200).exit_code == 0


@pytest.mark.slow
@pytest.mark.long
def test_no_learner_outlives_a_killed_command(tmp_path: Path) -> None:
    process, path = started(tmp_path, "--checkpoint-every", "1000")
    left = spawned(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    eventually(lambda: gone(left))
    about, _ = checkpoint.read(path / "checkpoints" / "last.pt")
    assert resume(path, steps=about.env_step + 200).exit_code == 0


@pytest.mark.slow
@pytest.mark.long
def test_an_environment_that_fails_in_another_learner_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING, encoding="utf-8", newline="\n")
    process, _ = started(tmp_path, env="./failing.py:Failing")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert text.count("step raised OSError: no more") == 1
    assert "learner 1 (pid" in text
    assert "Traceback" not in text
    assert "to continue" not in text  # no checkpoint was due


@pytest.mark.slow
@pytest.mark.long
def test_an_environment_that_fails_in_the_first_learner_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = options(tmp_path, learners=2, checkpoint_every=256)
    steps = 0

    def stop(agent: Any) -> None:
        nonlocal steps
        steps = agent.env_step
        if steps >= 500:
            raise EnvError("the sky fell")

    result = train("ppo", run, PPO, on_step=stop)
    assert result.exit_code == 1
    about, content = checkpoint.read(result.path / "checkpoints" / "last.pt")
    assert about.env_step == 500  # it failed between two steps, so that nothing was lost
    assert len(content["learners"]) == 1


@pytest.mark.slow
def test_a_learner_that_cannot_start_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An environment that only the first process can build; nothing is left behind."""
    (tmp_path / "alone.py").write_text(ALONE, encoding="utf-8", newline="\n")
    words = ["train", "ppo", "--env", f"{tmp_path}/alone.py:Failing", "--learners", "2", "--num-envs", "4"]
    assert main([*words, "--steps", "100", "--out", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "learner 1 (pid" in said
    assert "no more" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
