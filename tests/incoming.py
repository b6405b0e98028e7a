"""An environment whose values can be wrapped or replaced. No torch: worker processes import this."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

PLAIN = spaces.Box(-10.0, 10.0, (2,), np.float32)
TWO = spaces.MultiDiscrete([2, 3])


class Scripted(gym.Env[Any, Any]):
    """Episodes of three steps that pay 1; what it gives can be wrapped or replaced."""

    def __init__(
        self,
        *,
        space: gym.Space[Any] = PLAIN,
        actions: gym.Space[Any] | None = None,
        obs: Callable[[int], Any] = lambda step: np.full(2, step, np.float32),
        reward: Callable[[float], Any] = float,
        flag: Callable[[bool], Any] = bool,
        info: Callable[[int], dict[str, Any]] = lambda step: {},
    ) -> None:
        self.observation_space, self.action_space = space, actions or spaces.Discrete(2)
        self.give = obs, reward, flag, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        return self.give[0](0), self.give[3](0)

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.at += 1
        obs, reward, flag, info = self.give
        return obs(self.at), reward(1.0), flag(self.at == 3), flag(False), info(self.at)


def masks(how: str, value: Any, actions: gym.Space[Any] = TWO) -> gym.Env[Any, Any]:
    """An environment that keeps its masks in one of the places where people keep them."""
    if how == "info":
        return Scripted(actions=actions, info=lambda step: {"action_mask": value})
    if how == "dict":
        space = spaces.Dict({"action_mask": spaces.MultiBinary(5), "x": PLAIN})
        return Scripted(actions=actions, space=space, obs=lambda step: {"action_mask": value, "x": np.zeros(2)})
    env = Scripted(actions=actions)
    env.action_masks = lambda: value  # type: ignore[attr-defined]
    return gym.wrappers.TimeLimit(env, 100)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class Panic(BaseException):
    """As bindings of other languages raise it."""


class Unseeded(Scripted):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class Specs:
    def observation_spec(self) -> None: ...


class Agents:
    possible_agents = ("a", "b")


class Exits(Scripted):
    def __init__(self) -> None:
        raise SystemExit("no licence")
