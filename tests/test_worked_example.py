"""The device-native environment of CONTRIBUTING.md: short, keeps what is promised of all, and can be learned."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest
import torch

from gymnast import TrainOptions, train
from gymnast.agents import ActorCriticConfig
from gymnast.envs import make
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.draws import Draws, row_keys
from gymnast.storage.metrics_log import read
from tests.conformance import check_env, check_vector_env

PAGE = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text()
SECTION = PAGE.split("## Adding a device-native environment\n")[1].split("\n## ")[0]
ID = "my/Chase-v0"
CPU = torch.device("cpu")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the example in it, from which it may be imported."""
    (tmp_path / "chase.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("chase", None)
    gym.registry.pop(ID, None)


def test_it_is_short() -> None:
    assert len(block("python").splitlines()) <= 60


def test_it_keeps_what_is_promised(folder: Path) -> None:
    check_env(make(f"chase:{ID}", 4))
    env = make(f"chase:{ID}", 4, options={"size": 5, "drift": 1.0}, max_episode_steps=9, render=True)
    assert isinstance(env, NativeEnv)
    check_vector_env(env.env)
    check_vector_env(gym.make_vec(f"chase:{ID}", num_envs=3, device="cpu"))
    with pytest.raises(ValueError, match="size must be >= 3, got 2"):
        make(ID, 1, options={"size": 2})


def test_its_rules(folder: Path) -> None:
    game = importlib.import_module("chase").Chase(device=CPU, size=4, drift=0.0)
    state = {"me": torch.tensor([0, 0, 0, 1]), "light": torch.tensor([3, 3, 1, 1])}
    draws = Draws(row_keys(0, 4, device=CPU), torch.ones(4, dtype=torch.int64))
    assert game.observe(state)[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    after, reward, terminated = game.step(state, torch.tensor([0, 1, 2, 1]), draws)
    assert (after["me"].tolist(), after["light"].tolist()) == ([3, 0, 1, 1], [3, 3, 1, 1])
    assert (reward.tolist(), terminated.any()) == ([1.0, 0.0, 1.0, 1.0], False)


def test_an_agent_trains_on_it(folder: Path) -> None:
    options = TrainOptions(
        env=f"chase:{ID}", num_envs=8, steps=512, eval_episodes=2, out=str(folder / "runs"), video=False
    )
    result = train("ppo", options, ActorCriticConfig(clip=0.2, rollout_steps=16, epochs=2, minibatches=2))
    assert result.env_step == 512
    assert 0.0 <= final_return(result.path) <= 100.0


@pytest.mark.slow
def test_the_command_learns_it(folder: Path) -> None:
    """On 9 cells a random walk is paid in 11 of 100 steps."""
    words = [sys.executable, "-m", *block("").split(), "--name", "run"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "runs" / "my-Chase-v0").glob("*/run")
    assert final_return(path) > 25.0
    assert list((path / "videos").iterdir())


def final_return(path: Path) -> float:
    (final,) = (record for record in read(path / "metrics.jsonl") if record["kind"] == "final")
    return float(final["mean_return"])
