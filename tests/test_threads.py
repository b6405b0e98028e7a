"""`--threads auto`: how the number is measured, remembered and used. No test depends on real times."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.base import Acted
from gymnast.cli.main import main
from gymnast.envs import make
from gymnast.machine import limit_threads
from gymnast.training import parts, threads

TRAIN = ["train", "ppo", "--env", "gymnast/Catch-v0", "--num-envs", "2", "--steps", "64", "--no-video"]
TRAIN += ["--rollout-steps", "16", "--eval-episodes", "1"]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.chdir(tmp_path)
    yield
    limit_threads(1)


class Measured:
    """Stands in for `measure`: gives these seconds and counts its calls."""

    def __init__(self, one: float, two: float) -> None:
        self.seconds, self.calls = {1: one, 2: two}, 0

    def __call__(self, *given: Any) -> dict[int, float]:
        self.calls += 1
        return self.seconds


class Slow:
    """An agent whose update takes a number of seconds of a clock of its own, by torch's threads."""

    def __init__(self, seconds: dict[int, list[float]]) -> None:
        self.seconds, self.now, self.stored = seconds, 0.0, 0

    def actor(self, rows: int, **given: Any) -> Any:
        return SimpleNamespace(act=lambda obs, start, mask: Acted(torch.zeros(rows, dtype=torch.int64)))

    def store(self, obs: Any, acted: Acted, step: Any) -> None:
        assert step.obs.shape == obs.shape == (2, 10, 5)
        self.stored += 1

    def updates_due(self, env_step: int) -> int:
        return 3 if env_step % 8 == 0 else 0

    def learn(self) -> None:
        left = self.seconds[torch.get_num_threads()]
        self.now += left.pop(0) if len(left) > 1 else left[0]


def choose(config: ActorCriticConfig | None = None) -> threads.Choice:
    env = make("gymnast/Catch-v0", 2)
    return threads.choose("ppo", config or ActorCriticConfig(), env, lambda config: agent_of(config))


def agent_of(config: ActorCriticConfig) -> ActorCritic:
    env = make("gymnast/Catch-v0", 2)
    return ActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=2)


@pytest.mark.parametrize(
    ("seconds", "found", "steps"),
    [
        ({1: [0.03], 2: [0.02]}, {1: 0.03, 2: 0.02}, 10 * 4),  # 12 + 2 updates with each
        ({1: [9.0, 9.0, 0.03], 2: [9.0, 9.0, 0.02]}, {1: 0.03, 2: 0.02}, 10 * 4),  # the first ones compile
        ({1: [2.0], 2: [1.5]}, {1: 2.0, 2: 1.5}, 3 * 4),  # after 5 s one of each is enough
        ({1: [0.1], 2: [0.3]}, {1: 0.1, 2: 0.3}, 2 * 4),  # three times as slow is clear at once
    ],
)
def test_updates_are_timed_in_turns(seconds: dict[int, list[float]], found: dict[int, float], steps: int) -> None:
    agent: Any = Slow(seconds)
    measured = threads.measure(agent, make("gymnast/Catch-v0", 2), (1, 2), clock=lambda: agent.now)
    assert measured == pytest.approx(found)
    assert agent.stored == steps
    assert torch.get_num_threads() == 1


def test_a_real_update_can_be_measured() -> None:
    agent = agent_of(ActorCriticConfig(rollout_steps=8, minibatches=1, epochs=1))
    (seconds,) = threads.measure(agent, make("gymnast/Catch-v0", 2), (1,)).values()
    assert seconds > 0


@pytest.mark.parametrize(("one", "two", "best"), [(2.0, 1.0, 2), (1.0, 2.0, 1), (1.0, 0.97, 1)])
def test_more_threads_must_be_worth_it(monkeypatch: pytest.MonkeyPatch, one: float, two: float, best: int) -> None:
    monkeypatch.setattr(threads, "measure", Measured(one, two))
    choice = choose()
    assert choice.threads == best
    times = f"{1e3 * one:.3g} ms with 1 and {1e3 * two:.3g} ms with 2"
    assert choice.note == f"threads auto is {best}: an update takes {times}"


def test_a_measurement_is_remembered_for_the_agent_and_its_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(threads, "measure", measured := Measured(2.0, 1.0))
    first, again, rate = choose(), choose(), choose(ActorCriticConfig(learning_rate=1e-5))
    assert measured.calls == 1
    assert again.note == rate.note == f"{first.note} (measured before)"
    choose(ActorCriticConfig(hidden_sizes=(7,)))
    assert measured.calls == 2
    (file,) = (tmp_path / "cache" / "gymnast").iterdir()
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 2
    file.write_text("{", encoding="utf-8", newline="\n")
    assert choose() == first
    assert measured.calls == 3
    monkeypatch.setattr(threads, "cores", lambda: 1)
    assert choose() == threads.Choice(1, "threads auto is 1: there is one core")


def test_a_folder_that_cannot_be_written_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threads, "measure", Measured(2.0, 1.0))
    (tmp_path / "cache").write_text("a file", encoding="utf-8", newline="\n")
    choice = choose()
    assert choice.threads == 2
    assert "(not remembered: " in choice.note


def test_a_trial_has_a_small_memory() -> None:
    @dataclasses.dataclass(frozen=True)
    class Config:
        learning_starts: int = 50_000
        replay_size: int = 500
        replay_path: str | None = "memory"

    assert threads.trial_config(Config()) == Config(1_000, 500, None)


def test_a_run_uses_the_number_and_keeps_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threads, "measure", Measured(2.0, 1.0))
    used: list[int] = []
    monkeypatch.setattr(parts, "limit_threads", used.append)
    assert main([*TRAIN, "--threads", "auto", "--name", "auto"]) == 0
    assert used[:2] == [1, 2]
    assert "threads auto is 2: an update takes 2e+03 ms with 1 and 1e+03 ms with 2" in capsys.readouterr().err
    config = json.loads(Path("runs/gymnast-Catch-v0/ppo/auto/config.json").read_text(encoding="utf-8"))
    assert config["run"]["threads"] == 2


def test_a_trial_changes_nothing_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for name, words in (("auto", ["--threads", "auto"]), ("one", [])):
        monkeypatch.setattr(threads, "measure", lambda agent, env, counts: (torch.rand(3), {1: 1.0, 2: 1.0})[1])
        assert main([*TRAIN, *words, "--name", name]) == 0
        weights.append(Path(f"runs/gymnast-Catch-v0/ppo/{name}/metrics.jsonl").read_bytes())
    assert weights[0] == weights[1]
    assert np.size(weights[0]) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads", "many"], "--threads must be an integer or one of auto, got many"),
        (["--threads", "auto", "--seeds", "0:2"], "threads auto measures the updates of a single agent"),
    ],
)
def test_bad_values_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
