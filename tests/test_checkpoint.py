"""Checkpoints are written whole or not at all (row 28), and reading one never runs what it holds (row 32)."""

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gymnast.agents import ActorCriticConfig, DQNConfig
from gymnast.errors import UsageError
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint, rebuild
from gymnast.storage.checkpoint import About
from gymnast.training.train import resume, train

ABOUT = About("dqn", {}, "CartPole-v1", 7, {"type": "Discrete", "n": 2, "start": 0}, {"type": "Discrete"}, {}, {})


def test_round_trip_with_a_generator(tmp_path: Path) -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    state = {"agent": {"weights": torch.arange(3.0), "rng": generator.bit_generator.state, "names": ["a", "b"]}}
    checkpoint.save(tmp_path / "x.pt", ABOUT, state)
    about, content = checkpoint.read(tmp_path / "x.pt")
    assert about == ABOUT
    assert torch.equal(content["agent"]["weights"], torch.arange(3.0))
    other = np.random.Generator(np.random.PCG64())
    other.bit_generator.state = content["agent"]["rng"]
    assert other.random() == generator.random()
    assert [file.name for file in tmp_path.iterdir()] == ["x.pt"]


def test_a_view_is_written_without_the_rest_of_its_memory(tmp_path: Path) -> None:
    whole = torch.arange(3_000_000).reshape(1000, 3000)
    views = {"rows": whole[7:9], "columns": whole[:, 5:6], "none": whole[:0], "bits": (whole % 2 == 0)[1, 1:4]}
    checkpoint.save(tmp_path / "x.pt", ABOUT, {"agent": views})
    assert (tmp_path / "x.pt").stat().st_size < 100_000
    read = checkpoint.read(tmp_path / "x.pt")[1]["agent"]
    assert read.keys() == views.keys()
    assert all(torch.equal(read[name], view) for name, view in views.items())


def test_a_half_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, ABOUT, {"agent": {"weights": torch.zeros(1000)}})
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match=r"damaged|not a checkpoint") as caught:
            checkpoint.read(path)
        assert "\n" not in str(caught.value)


class Payload:
    """What a stranger would put into a file to run code on loading it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)

    target: Path


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_payload_is_refused_and_never_run(tmp_path: Path, writer: str) -> None:
    Payload.target = tmp_path / "run"
    path = tmp_path / "x.pt"
    content = {"format": checkpoint.FORMAT, "about": "{}", "agent": Payload()}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError, match="it was not loaded"):
        checkpoint.read(path)
    assert not Payload.target.exists()


def test_an_agent_of_other_code_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\n")
    about = About(f"{tmp_path}/evil.py:Evil", {}, "X", 0, ABOUT.observation_space, ABOUT.observation_space, {}, {})
    checkpoint.save(tmp_path / "x.pt", about, {"agent": {}})
    with pytest.raises(UsageError, match=r"trust=True \(--trust\) runs it, or pass agent=Class"):
        rebuild.load(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("path", ["nothing-here", "."])
def test_what_is_no_run_is_named(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no run or checkpoint|not a run folder"):
        checkpoint.find(path)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """The file size limit of the process fails a write in its middle, as a full disk does."""
    path = tmp_path / "x.pt"
    checkpoint.save(path, ABOUT, {"agent": {"weights": torch.ones(10)}})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(OSError, match="too large"):
            checkpoint.save(path, ABOUT, {"agent": {"weights": torch.ones(1_000_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.pt"]


WRITER = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from gymnast.storage import checkpoint
from gymnast.agents import ActorCriticConfig, DQNConfig
from tests.test_checkpoint import ABOUT
number = 0
while True:
    number += 1
    checkpoint.save(Path(sys.argv[1]), ABOUT, {"agent": {"weights": torch.full((1_000_000,), float(number))}})
    print(number, flush=True)
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for wait in (0.0, 0.003, 0.007):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.wait()
        process.stdout.close()
        weights = checkpoint.read(path)[1]["agent"]["weights"]
        assert (weights == weights[0]).all()
        assert weights[0] >= 1


def test_a_run_that_the_disk_has_no_room_for_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=11_000_000))
    options = TrainOptions(env="CartPole-v1", steps=10, out=str(tmp_path / "runs"), video=False)
    small = DQNConfig(replay_size=1_000, hidden_sizes=(8,))
    assert train("dqn", options, small).exit_code == 0
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(UsageError, match=r"its checkpoints need 7 MB and only 11 MB are free"):
        train("dqn", options, replace(small, replay_size=100_000))
    assert not (tmp_path / "runs").exists()


def test_what_was_trained_with_graphs_in_many_environments_is_loaded_on_the_cpu(tmp_path: Path) -> None:
    config = ActorCriticConfig(rollout_steps=1, minibatches=8)  # more than the samples of one environment
    options = TrainOptions(env="CartPole-v1", steps=16, num_envs=8, eval_episodes=1, video=False, out=str(tmp_path))
    best = train("ppo", options, config).path / "checkpoints" / "best.pt"
    about, content = checkpoint.read(best)
    recorded = replace(about, config={**about.config, "cuda_graphs": True})
    checkpoint.save(tmp_path / "recorded.pt", recorded, content)
    agents = [rebuild.load(path) for path in (best, tmp_path / "recorded.pt")]
    assert not agents[1].config.cuda_graphs  # type: ignore[attr-defined]
    obs, start = torch.ones(1, 4), torch.ones(1, dtype=torch.bool)
    actions = [agent.actor(1, explore=False, seed=0).act(obs, start).action for agent in agents]
    assert torch.equal(*actions)


def test_last_keeps_its_layout(tmp_path: Path) -> None:
    """Runs of earlier builds are resumed: a name may be added, with a value for files without it, but none changed."""
    options = TrainOptions(env="CartPole-v1", steps=16, eval_episodes=1, video=False, out=str(tmp_path))
    last = train("dqn", options, DQNConfig(replay_size=100, hidden_sizes=(8,))).path / "checkpoints" / "last.pt"
    content = checkpoint.read(last)[1]
    parts = ["format", "about", "agent", "actor", "env", "loop", "torch_rng", "cuda_rng", "session", "lasting"]
    assert list(content) == parts
    assert list(content["session"]) == ["next", "best", "metrics", "timing", "seconds", "writers"]
    assert {"arrays", "block", "touched", "files"} <= content["agent"]["replay"].keys()
    assert content["agent"]["replay"]["files"].keys() == {"saves", "blocks"}
    assert "replay" not in checkpoint.read(last.with_name("best.pt"))[1]["agent"]


def test_a_last_without_all_parts_is_refused_in_one_line(tmp_path: Path) -> None:
    path = train("q-learning", TrainOptions(env="FrozenLake-v1", steps=16, video=False, out=str(tmp_path))).path
    last = path / "checkpoints" / "last.pt"
    shutil.copy(last.with_name("best.pt"), last)
    with pytest.raises(UsageError, match=r"last.pt does not hold the state of a run: 'actor'"):
        resume(path, steps=32)


def test_a_file_without_an_agent_is_refused_in_one_line(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "members.pt", ABOUT, {"population": {}})
    with pytest.raises(UsageError, match=r"members.pt does not hold the state of an agent"):
        rebuild.load(tmp_path / "members.pt")
