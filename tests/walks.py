"""Environments that keep something from one episode to the next. No torch: worker processes import this."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Walk(gym.Env[Any, Any]):
    """A noisy walk; subclasses keep something from one episode to the next."""

    def __init__(self, space: gym.Space[Any] | None = None) -> None:
        self.observation_space = spaces.Box(-100, 100, (2,), np.float32)
        self.action_space = space or spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.begin()
        self.place = self.np_random.normal(size=2)
        return self.place.astype(np.float32), {}

    def begin(self) -> None:
        self.scale = 1.0

    def noise(self) -> float:
        return float(self.np_random.normal())

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        move = float(np.sum(action)) - 0.5 + self.noise()
        self.place = np.clip(self.place + move * self.scale, -100, 100)
        return self.place.astype(np.float32), move * self.scale, bool(self.np_random.random() < 0.08), False, {}


class Curriculum(Walk):
    """Harder with every episode."""

    episodes = 0

    def begin(self) -> None:
        self.episodes += 1
        self.scale = 1.0 + self.episodes / 10
