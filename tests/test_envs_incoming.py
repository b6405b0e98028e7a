"""What users' environments give: values in any wrapping mean themselves, values that do not fit are one line."""

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast import envs
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError, EnvWarning
from tests.incoming import PLAIN, Scripted, masks

VECTORIZATIONS = pytest.mark.parametrize("vectorization", ["serial", "async", "vector"])


def made(vectorization: str, rows: int = 2, **settings: Any) -> Env:
    def build() -> gym.Env[Any, Any]:
        return Scripted(**settings)

    if vectorization != "vector":
        return envs.make(build, rows, vectorization=vectorization)
    mode = gym.vector.AutoresetMode.DISABLED
    return envs.make(gym.vector.SyncVectorEnv([build] * rows, autoreset_mode=mode))


def play(env: Env, steps: int = 7) -> tuple[list[float], list[int]]:
    """Returns and lengths of the episodes that ended."""
    env.reset()
    returns, lengths = [], []
    action = torch.zeros((env.num_envs, *(env.single_action_space.shape or ())), dtype=torch.int64)
    for _ in range(steps):
        step = env.step(action)
        if step.num_ended:
            assert step.episode_return is not None
            assert step.episode_length is not None
            returns += step.episode_return[step.ended].tolist()
            lengths += step.episode_length[step.ended].tolist()
    return returns, lengths


@VECTORIZATIONS
@pytest.mark.parametrize(
    ("reward", "flag"),
    [
        (lambda value: np.array([value]), lambda value: np.array([value])),
        (lambda value: np.array(value), np.bool_),
        (np.float32, int),
        (int, lambda value: np.array([[value]])),
        (lambda value: torch.tensor([value]), lambda value: torch.tensor([value])),
        (lambda value: torch.tensor(value), lambda value: torch.tensor(value)),
        (lambda value: [value], float),
        (bool, bool),
    ],
    ids=["array", "numpy", "int", "nested", "tensor", "tensor0", "list", "bool"],
)
def test_one_element_means_that_element(vectorization: str, reward: Any, flag: Any) -> None:
    if vectorization == "vector" and flag(True) is not True and np.ndim(flag(True)):
        pytest.skip("Gymnasium's own vector environments refuse it")
    env = made(vectorization, reward=reward, flag=flag)
    try:
        assert play(env) == ([3.0] * 4, [3] * 4)
    except EnvError as error:
        if vectorization != "vector" or " raised " not in str(error):
            raise
        pytest.skip(f"Gymnasium's own vector environments refuse it: {error}")
    finally:
        env.close()


@pytest.mark.parametrize("vectorization", ["serial", "async"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"reward": lambda value: np.array([value, value])},
            r"the reward array\(\[1., 1.\]\), which is not one number",
        ),
        ({"reward": lambda value: None}, "the reward None, which is not one number"),
        ({"reward": str}, "the reward '1.0', which is not one number"),
        ({"flag": lambda value: None}, "terminated as None, which is neither true nor false"),
        ({"flag": lambda value: np.array([value, value])}, "terminated as array"),
        ({"flag": lambda value: 2}, "terminated as 2"),
    ],
    ids=["two", "none", "text", "flag-none", "flag-two", "flag-2"],
)
def test_anything_else_is_one_line(vectorization: str, settings: dict[str, Any], message: str) -> None:
    env = made(vectorization, **settings)
    with pytest.raises(EnvError, match=rf"build.*{message}.*step 1 of episode 1") as caught:
        play(env)
    assert "\n" not in str(caught.value)
    env.close()


BYTES = spaces.Box(0, 255, (2,), np.uint8)


@pytest.mark.parametrize("vectorization", ["serial", pytest.param("async", marks=pytest.mark.long), "vector"])
@pytest.mark.parametrize(
    ("space", "obs", "message"),
    [
        (spaces.Box(0, 9, (2,), np.int64), lambda step: np.full(2, 0.8), "0.8 in an observation of float64"),
        (BYTES, lambda step: np.full(2, -1 if step else 0), "-1 in an observation of int64"),
        (BYTES, lambda step: np.full(2, 300 if step else 0), "300 in an observation of int64"),
        (BYTES, lambda step: np.full(2, np.nan if step else 0), "nan in an observation"),
        (spaces.Discrete(3), lambda step: -1 if step == 2 else 0, "-1 but its space says 0 to 2"),
        (spaces.Discrete(3), lambda step: 3 if step == 2 else 0, "3 but its space says 0 to 2"),
        (spaces.Discrete(3, start=5), lambda step: 4 if step else 5, "4 but its space says 5 to 7"),
        (spaces.Discrete(3), lambda step: 1.5 if step else 0, "1.5 in an observation"),
        (
            spaces.MultiDiscrete([3, 4]),
            lambda step: np.array([0, 5 if step else 0]),
            r"\[0, 5\] but its space says up to \[2, 3\]",
        ),
        (spaces.MultiBinary(2), lambda step: np.array([0, 2 * (step > 0)], np.int8), "2 in an observation of bits"),
        (PLAIN, lambda step: np.zeros(3 if step else 2), r"shape \(3,\) but its space says \(2,\)"),
        (PLAIN, lambda step: None, "not an array of numbers"),
    ],
)
def test_an_observation_outside_its_space_is_one_line(vectorization: str, space: Any, obs: Any, message: str) -> None:
    env = made(vectorization, space=space, obs=obs)
    with pytest.raises(EnvError) as caught:
        play(env)
    # Gymnasium's own vector environments refuse some themselves, in other words.
    refused = vectorization == "vector" and " raised " in str(caught.value)
    assert refused or re.search(message, str(caught.value))
    env.close()
    assert "\n" not in str(caught.value)


def test_row_episode_and_step_of_a_wrong_observation_are_said() -> None:
    env = made("serial", space=spaces.Discrete(3), obs=lambda step: 3 if step == 2 else 0)
    with pytest.raises(EnvError, match=r"\(step 2 of episode 1, row 0\)"):
        play(env)


@pytest.mark.parametrize(
    ("space", "obs", "dtype"),
    [
        (BYTES, lambda step: np.full(2, float(step)), torch.uint8),
        (PLAIN, lambda step: [step, 0], torch.float32),
        (PLAIN, lambda step: np.full(2, step, np.int8), torch.float32),
        (spaces.Discrete(9), lambda step: np.array([step]), torch.int64),
        (spaces.Discrete(9), float, torch.int64),
    ],
)
def test_a_cast_that_changes_no_value_is_made(space: Any, obs: Any, dtype: torch.dtype) -> None:
    env = made("serial", space=space, obs=obs)
    env.reset()
    step = env.step(torch.zeros(2, dtype=torch.int64))
    assert isinstance(step.next_obs, torch.Tensor)
    assert step.next_obs.dtype == dtype
    assert step.next_obs.flatten()[0] == 1


def test_numbers_out_of_bounds_are_said_once_and_kept() -> None:
    env = made("serial", obs=lambda step: np.full(2, 11.0 * step, np.float32))
    with pytest.warns(EnvWarning, match=r"gave 11 at \[0\] of an observation but its space says -10 to 10") as seen:
        play(env)
    assert len(seen) == 1
    assert env.step(torch.zeros(2, dtype=torch.int64)).next_obs.max() > 10.0  # type: ignore[union-attr]


def test_parts_of_nested_spaces_are_checked() -> None:
    space = spaces.Dict({"a": spaces.Tuple([spaces.Discrete(2), BYTES]), "b": PLAIN})
    good = {"a": (1, np.zeros(2, np.uint8)), "b": np.zeros(2)}
    play(made("serial", space=space, obs=lambda step: good))
    with pytest.raises(EnvError, match=r"300 .*part 1\) \(part 'a'\)"):
        play(made("serial", space=space, obs=lambda step: {**good, "a": (1, np.full(2, 300))}))
    with pytest.raises(EnvError, match="without the part 'b'"):
        play(made("serial", space=space, obs=lambda step: {"a": good["a"]}))


def test_one_environment_for_two_rows_is_refused() -> None:
    one = Scripted()
    with pytest.raises(ValueError, match="must build a new one at each call"):
        envs.make(lambda: one, 2)


def test_an_environment_in_use_is_refused_until_it_is_closed() -> None:
    one = Scripted()
    first = envs.make(lambda: one)
    with pytest.raises(ValueError, match="already in use"):
        envs.make(lambda: gym.wrappers.TimeLimit(one, 5))
    first.close()
    envs.make(lambda: one).close()


@pytest.mark.parametrize("vectorization", ["serial", "async"])
@pytest.mark.parametrize("how", ["info", "method", "dict"])
def test_masks_are_found_where_people_keep_them(how: str, vectorization: str) -> None:
    allowed = np.array([1, 0, 0, 1, 1], np.int8)
    env = envs.make(lambda: masks(how, allowed), 2, vectorization=vectorization)
    env.reset()
    step = env.step(torch.zeros((2, 2), dtype=torch.int64))
    for mask in (env.action_mask, step.action_mask, step.next_action_mask):
        assert mask is not None
        assert mask.tolist() == [[True, False, False, True, True]] * 2
    env.close()


@pytest.mark.parametrize("value", [([1, 0], [0, 1, 1]), (np.array([True, False]), np.array([False, True, True]))])
def test_one_mask_for_each_part_of_an_action(value: Any) -> None:
    env = envs.make(lambda: masks("info", value))
    env.reset()
    assert env.action_mask is not None
    assert env.action_mask.tolist() == [[True, False, False, True, True]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 0, 1], r"the action mask \[1, 0, 1\], but its actions need one of shape \(5,\)"),
        ([0, 0, 1, 1, 1], "allows no action, in the middle of an episode"),
        (([1, 1, 1], [1, 1]), "the action mask"),
    ],
)
def test_a_mask_that_cannot_be_is_one_line(value: Any, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        play(envs.make(lambda: masks("info", value)))


def test_a_mask_that_is_missing_is_one_line() -> None:
    info = {0: {"action_mask": [1, 1]}}
    with pytest.raises(EnvError, match=r"no 'action_mask' in its info, .* \(step 1 of episode 1\)"):
        play(envs.make(lambda: Scripted(info=lambda step: info.get(step, {}))))


def test_a_mask_that_allows_nothing_is_harmless_at_an_end() -> None:
    env = envs.make(lambda: Scripted(info=lambda step: {"action_mask": [step < 3, step < 3]}))
    assert play(env) == ([3.0, 3.0], [3, 3])
