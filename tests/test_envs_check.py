"""`gymnast.envs.check` says what an environment gives and what gymnast does with it."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from gymnast.envs import check
from gymnast.envs.trial import Checked
from tests.incoming import Scripted


def verdicts(found: Checked) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in found.findings}


def text(found: Checked, name: str) -> str:
    return next(finding.text for finding in found.findings if finding.name == name)


class Counting(Scripted):
    """Its observation counts all episodes since it was built."""

    episodes = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**options)
        self.episodes += 1
        return np.full(2, self.episodes % 10, np.float32), {}


class Unseeded(Scripted):
    """Draws from a generator that nobody seeded."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**options)
        return np.random.default_rng().random(2), {}


class Broken(Scripted):
    def close(self) -> None:
        raise OSError("no such socket")


@pytest.mark.parametrize("id", ["CartPole-v1", "Taxi-v4", "gymnast/Catch-v0", "Pendulum-v1"])
def test_nothing_is_wrong_with_what_is_shipped(id: str) -> None:
    found = check(id, steps=100)
    assert found.ok
    assert verdicts(found)["resume"] == verdicts(found)["state"] == verdicts(found)["seeds"] == "ok"
    assert f"{id}, 1 row" in str(found)
    assert "masks" not in verdicts(found) or id == "Taxi-v4"


def test_state_that_outlives_an_episode_is_found() -> None:
    found = check(Counting, steps=20)
    assert found.ok
    assert verdicts(found)["state"] == "note"
    assert verdicts(found)["seeds"] == "ok"


def test_a_generator_that_nobody_seeded_is_found() -> None:
    found = check(Unseeded, steps=20)
    assert "cannot be repeated" in text(found, "seeds")
    assert verdicts(found)["resume"] == "note"


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({"reward": lambda value: None}, "steps", "the reward None"),
        ({"reward": lambda value: np.inf}, "rewards", "infinite"),
        ({"obs": lambda step: np.zeros(3)}, "steps", "shape (3,)"),
        ({"space": spaces.Text(3), "obs": lambda step: "abc"}, "build", "Text space"),
    ],
)
def test_faults_are_findings(settings: dict[str, Any], name: str, message: str) -> None:
    found = check(lambda: Scripted(**settings), steps=20)
    assert not found.ok
    assert message in text(found, name)


def test_notes_are_no_faults() -> None:
    found = check(lambda: Broken(obs=lambda step: np.full(2, 20.0 * step)), steps=20)
    assert found.ok
    assert "no such socket" in text(found, "close")
    assert "gave 20 at [0]" in text(found, "bounds")
    assert "no video" in text(found, "render")


def test_one_environment_for_all_calls_is_a_fault() -> None:
    one = Scripted()
    found = check(lambda: one, steps=20)
    assert not found.ok
    assert "at each call" in str(found)


def test_an_endless_environment_is_noted() -> None:
    assert "none ended" in text(check(lambda: Scripted(flag=lambda value: False), steps=20), "episodes")


def test_a_vector_environment_is_left_open() -> None:
    mode = gym.vector.AutoresetMode.DISABLED
    vector = gym.vector.SyncVectorEnv([Scripted] * 3, autoreset_mode=mode)
    found = check(vector, steps=20)
    assert found.ok
    assert "3 rows" in text(found, "build")
    vector.step(np.zeros(3, np.int64))
    vector.close()


def test_random_actions_are_allowed_ones() -> None:
    taken: list[Any] = []

    class Masked(Scripted):
        def step(self, action: Any) -> Any:
            taken.append(np.asarray(action).tolist())
            return super().step(action)

    actions = spaces.MultiDiscrete([2, 3], start=[0, 5])
    found = check(lambda: Masked(actions=actions, info=lambda step: {"action_mask": [0, 1, 1, 0, 1]}), steps=60)
    assert found.ok
    assert {tuple(action) for action in taken} == {(1, 5), (1, 7)}
