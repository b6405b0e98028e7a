"""Dicts with integer keys, Boxes of size 0 and nested Tuples: they work, or are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

from gymnast import TrainOptions, load, train
from gymnast.envs import make
from gymnast.evaluation import evaluate
from gymnast.storage import space_json

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
EMPTY = spaces.Box(-1.0, 1.0, (0,), np.float32)


class Sampled(gym.Env[Any, Any]):
    """Five steps of random observations of a space."""

    def __init__(self, space: gym.Space[Any], actions: gym.Space[Any] | None = None) -> None:
        self.observation_space, self.action_space = space, actions or spaces.Discrete(2)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == 5, False, {}


WORK: dict[str, gym.Space[Any]] = {
    "integer keys": spaces.Dict({0: spaces.Discrete(4, start=2), 1: BOX}),  # type: ignore[dict-item]
    "twelve integer keys": spaces.Dict({key: spaces.Discrete(2 + key % 2) for key in range(12)}),  # type: ignore[misc]
    "texts and integers": spaces.Dict({"b": BOX, 1: spaces.MultiBinary(2), "a": BOX}),  # type: ignore[dict-item]
    "an empty part": spaces.Dict({"a": EMPTY, "b": BOX}),
    "nested tuples": spaces.Tuple((BOX, spaces.Tuple((spaces.Discrete(2), spaces.Tuple((BOX,)))))),
    "dicts in tuples": spaces.Tuple((spaces.Dict({"x": BOX}), spaces.Dict({2: spaces.MultiDiscrete([2, 3])}))),  # type: ignore[dict-item]
    "a number": spaces.Box(-1.0, 1.0, (), np.float32),
}
REFUSED: dict[str, tuple[gym.Space[Any], str]] = {
    "nothing": (EMPTY, r"has observations in Box\(\[\], \[\], \(0,\), float32\), which have no number"),
    "nothing on two axes": (spaces.Box(-1.0, 1.0, (3, 0), np.float32), "which have no number"),
    "no part": (spaces.Dict({}), r"has observations in Dict\(\), which have no number"),
    "no part of a tuple": (spaces.Tuple(()), "which have no number"),
    "empty parts only": (spaces.Dict({"a": EMPTY, "b": spaces.Tuple((EMPTY,))}), "which have no number"),
    "the same name twice": (
        spaces.Dict({"1": BOX, 1: BOX}),  # type: ignore[dict-item]
        "a Dict observation has the keys '1' and 1, which cannot be told apart",
    ),
    "a tuple as a key": (spaces.Dict({("a", 1): BOX}), r"has the key \('a', 1\), which is not supported"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("agent", ["ppo", "dqn", "q-learning"])
def test_what_works_also_does_so_after_loading(name: str, agent: str, tmp_path: Path) -> None:
    if agent == "q-learning" and name not in ("twelve integer keys", "nested tuples", "a number"):
        pytest.skip("one agent of each kind is enough")
    space = WORK[name]
    options = TrainOptions("own", steps=40, out=str(tmp_path), name="run", eval_episodes=1, video=False, num_envs=2)
    result = train(agent, options, env=lambda: Sampled(space))
    assert result.exit_code == 0
    again = load(result.path)
    assert again.observation_space == space
    assert evaluate(again, lambda: Sampled(space), episodes=2).returns == (5.0, 5.0)


@pytest.mark.parametrize("name", WORK)
def test_a_vector_environment_gives_what_its_rows_give(name: str) -> None:
    """The parts of each row, bit for bit."""
    space = WORK[name]
    env = make(SyncVectorEnv([lambda: Sampled(space)] * 2))
    one = make(lambda: Sampled(space))
    assert flat(env.reset()).keys() == flat(one.reset()).keys()
    step, single = env.step(torch.zeros(2, dtype=torch.int64)), one.step(torch.zeros(1, dtype=torch.int64))
    for key, part in flat(step.obs).items():
        assert part.shape[1:] == flat(single.obs)[key].shape[1:]
        assert part.dtype == flat(single.obs)[key].dtype


def flat(obs: Any, path: str = "") -> dict[str, torch.Tensor]:
    if not isinstance(obs, dict):
        return {path: obs}
    return {name: part for key, value in obs.items() for name, part in flat(value, f"{path}/{key}").items()}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("vector", [False, True])
def test_what_does_not_work_is_refused(name: str, vector: bool) -> None:
    space, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make(SyncVectorEnv([lambda: Sampled(space)] * 2) if vector else lambda: Sampled(space))


def test_actions_without_a_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has actions in Box\(.*\), which have no numbers to choose"):
        make(lambda: Sampled(BOX, EMPTY))


@pytest.mark.parametrize("name", WORK)
def test_spaces_are_kept_with_their_keys_and_their_order(name: str) -> None:
    space = WORK[name]
    again = space_json.decode(space_json.encode(space))
    assert again == space
    if isinstance(space, spaces.Dict) and isinstance(again, spaces.Dict):
        assert list(again.spaces) == list(space.spaces)
