"""The task of a replay memory in replay.py: the steps to store, and its two calls."""

from __future__ import annotations

import numpy as np

EPISODE, PERIOD, ALPHA, BETA = 500, 16, 0.6, 0.4
BATCHES = (32, 256)


class Steps:
    """Steps of N environments with consecutive stacks: `PERIOD` different ones, repeated."""

    def __init__(self, num_envs: int) -> None:
        frames = np.random.default_rng(0).integers(256, size=(PERIOD, num_envs, 84, 84), dtype=np.uint8)
        self.stacks = [np.stack([frames[(t + k) % PERIOD] for k in range(4)], 1) for t in range(PERIOD)]
        self.action, self.reward = np.arange(num_envs) % 6, np.ones(num_envs, np.float32)
        self.flags = np.zeros(num_envs, bool), np.ones(num_envs, bool)
        self.time = 0

    def next(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stack before and after, and which episodes end."""
        at, self.time = self.time % PERIOD, self.time + 1
        return self.stacks[at], self.stacks[(at + 1) % PERIOD], self.flags[self.time % EPISODE == 0]


class Contender:
    """A memory of `size` transitions from N environments: `add` stores a step, `sample` draws and re-prioritises."""

    stored: int | None = None
    """Transitions in the full memory, if not `size`."""

    def add(self) -> None:
        raise NotImplementedError

    def sample(self, batch: int, error: np.ndarray) -> None:
        raise NotImplementedError
