"""Rules whose every number can be foretold, and the same as a single environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State

LUCK = 1000


class Counter(Game):
    """Observations [time, last action, luck of the episode, luck of the step]; action 1 ends the episode.

    The reward is the action plus time / 8. With `masked` the actions allowed are those other than `time % 3`.
    """

    def __init__(self, *, device: torch.device, start: int = 0, masked: bool = False) -> None:
        super().__init__(device=device)
        if start < 0:
            raise ValueError(f"start must be >= 0, got {start}")
        self.start, self.masked = start, masked
        self.observation_space = gym.spaces.Box(-1.0, 1e6, (4,), np.float32)
        self.action_space = gym.spaces.Discrete(3)

    def initial(self, draws: Draws) -> State:
        luck = draws.integer(0, LUCK)
        zero = torch.zeros_like(luck)
        return {"time": zero + self.start, "action": zero - 1, "luck": luck, "now": zero}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        time = state["time"] + 1
        after = {"time": time, "action": action, "luck": state["luck"], "now": draws.integer(0, LUCK)}
        return after, action + time.to(torch.float32) / 8, action == 1

    def observe(self, state: State) -> Tensor:
        return torch.stack(list(state.values()), 1).to(torch.float32)

    def action_mask(self, state: State) -> Tensor | None:
        if not self.masked:
            return None
        return torch.arange(3, device=self.device) != (state["time"] % 3)[:, None]

    def render(self, state: State) -> np.ndarray:
        return np.full((4, 6, 3), int(state["time"]), np.uint8)


class SingleCounter(gym.Env[Any, Any]):
    """The rules above without luck."""

    observation_space = gym.spaces.Box(-1.0, 1e6, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return np.array([0, -1], np.float32), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return np.array([self.time, action], np.float32), action + self.time / 8, action == 1, False, {}
