"""An environment that follows a script, and the naive loop over it. No torch: worker processes import this."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np

LENGTHS = (3, 1, 2, 5, 1, 4)
"""Lengths of the episodes, in turn."""


class Scripted(gym.Env):
    """Observations [row, episode, time, last action]; every third episode is truncated, every fifth both at once.

    With `reuse` it hands out one buffer and overwrites it in place, as some simulators do.
    """

    def __init__(self, row: int = 0, *, lives: bool = False, reuse: bool = True) -> None:
        self.observation_space = gym.spaces.Box(-1e6, 1e6, (4,), np.float32)
        self.action_space = gym.spaces.Discrete(3)
        self.row, self.lives, self.reuse = row, lives, reuse
        self.episode, self.time = -1, 0
        self.buffer = np.zeros(4, np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = 0 if seed is not None else self.episode + 1
        self.time = 0
        return self._observe(-1), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        length = LENGTHS[(self.episode + self.row) % len(LENGTHS)]
        assert self.time <= length, "stepped past the end of an episode"
        ended = self.time == length
        truncated = ended and self.episode % 3 == 2
        terminated = ended and (not truncated or self.episode % 5 == 0)
        reward = self.row * 1000 + self.episode + self.time / 8  # exact in float32
        return self._observe(int(action)), reward, terminated, truncated, self._info()

    def _observe(self, action: int) -> np.ndarray:
        self.buffer[:] = (self.row, self.episode, self.time, action)
        return self.buffer if self.reuse else self.buffer.copy()

    def _info(self) -> dict[str, Any]:
        if not self.lives:
            return {}
        return {"lives": 100 * self.episode + self.time, "action_mask": np.arange(3) != self.time % 3}


def oracle(row: int, actions: list[int], **options: Any) -> tuple[list[tuple], list[tuple[float, int]]]:
    """Transitions (obs, action, reward, next_obs, terminated, truncated) and (return, length) of ended episodes."""
    env = Scripted(row, **options)
    obs = env.reset()[0].tolist()
    transitions, episodes = [], []
    episode_return, length = 0.0, 0
    for action in actions:
        next_obs, reward, terminated, truncated, _ = env.step(action)
        next_obs = next_obs.tolist()
        transitions.append((obs, action, reward, next_obs, terminated, truncated))
        episode_return, length, obs = episode_return + reward, length + 1, next_obs
        if terminated or truncated:
            episodes.append((episode_return, length))
            episode_return, length, obs = 0.0, 0, env.reset()[0].tolist()
    return transitions, episodes


class Failing(Scripted):
    """Raises in its second step."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.time == 1:
            raise ZeroDivisionError("the second step")
        return super().step(action)


class Hanging(Scripted):
    """Never comes back from a step."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        while True:
            time.sleep(60)
