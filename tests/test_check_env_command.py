"""`gymnast check-env ID`: findings on stdout, exit code 0, 1 for a fault, 2 for what is no environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gymnast.cli.main import main
from tests.test_image_layouts import Camera


class Broken(Camera):
    """Gives another dtype than its space says, with values that it cannot hold."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        return np.full(observation.shape, 0.5), *rest  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def own() -> Iterator[None]:
    gym.register("own/Camera-v0", Camera)
    gym.register("own/Broken-v0", Broken)
    yield
    for name in ("own/Camera-v0", "own/Broken-v0"):
        del gym.registry[name]


def lines(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    code = main(["check-env", *words])
    out = capsys.readouterr().out.splitlines()
    return code, {line[6:20].strip(): line[:6].strip() + ": " + line[20:] for line in out}


def test_an_image_environment(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = lines(["own/Camera-v0", "--steps", "20"], capsys)
    assert code == 0
    assert found["build"] == "ok: own/Camera-v0, 1 row"
    assert found["episodes"] == "ok: 4 ended, of 5 to 5 steps"
    images = "observations [40, 48, 3] are images of 40x48 pixels and 3 channels, for convolutions"
    assert found["network"] == f"ok: auto is nature-cnn; {images}"
    names = found["agents"].removeprefix("ok: ").split(", ")
    assert {"dqn", "ppo", "rainbow"} <= set(names)
    assert not {"value-iteration", "q-learning"} & set(names)


@pytest.mark.parametrize(
    ("id", "fit", "unfit"),
    [("Taxi-v4", {"q-learning", "value-iteration", "dqn"}, set()), ("Pendulum-v1", {"ppo", "es"}, {"dqn", "sarsa"})],
)
def test_the_agents_that_fit(id: str, fit: set[str], unfit: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, found = lines([id, "--steps", "20", "--seed", "3"], capsys)
    names = set(found["agents"].removeprefix("ok: ").split(", "))
    assert (code, found["network"]) == (0, "ok: auto is mlp")
    assert fit <= names
    assert not unfit & names


def test_a_fault_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = lines(["own/Broken-v0", "--steps", "20"], capsys)
    assert code == 1
    assert found["steps"].startswith("fault: own/Broken-v0 gave 0.5 in an observation of float64")
    assert "agents" not in found


def test_options_of_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = lines(["FrozenLake-v1", "--steps", "20", "--env-options", '{"map_name": "8x8"}'], capsys)
    assert code == 0
    assert "Discrete(64)" in found["observations"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "check-env needs ID"),
        (["CartPol-v1"], "unknown environment 'CartPol-v1'; did you mean CartPole-v1?"),
        (["CartPole-v1", "--steps", "0"], "--steps must be >= 1, got 0"),
        (["CartPole-v1", "--step", "10"], "did you mean --steps?"),
        (["CartPole-v1", "--env-options", "3"], "--env-options must be a JSON object"),
    ],
)
def test_wrong_words_are_exit_code_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-env", *words]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert message in error


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-env", "--help"]) == 0
    assert "--env-options" in capsys.readouterr().out
