"""The interface of a device-native environment's rules: pure functions of tensors, for all rows at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.step import GoalRewards, Obs, TransitionTable

State: TypeAlias = "dict[str, Tensor]"
"""All that the future of N rows depends on; every tensor [N, ...] on one device, of a fixed dtype."""


class Game(ABC):
    """The rules of one environment.

    They are functions of a batched state that overwrite nothing, draw only from their argument, and neither read a
    value on the host nor index by a mask: so they run as they are, compiled, and in a recorded CUDA graph. Time
    limits, resets and statistics are the vector environment's. Constants are made on `device` by the constructor,
    whose further keywords are the environment's options.
    """

    observation_space: gym.Space[Any]
    """Of one row."""
    action_space: gym.Space[Any]
    """Of one row."""
    render_fps: int = 30
    has_tensors: bool = True
    """Whether it has rules of tensors, which are the functions below; else it has `row_rules` on every device."""
    compiles_on_cpu: bool = True
    """Whether a compiled step is the faster one on a CPU too."""

    def __init__(self, *, device: torch.device) -> None:
        self.device = device

    @abstractmethod
    def initial(self, draws: Draws) -> State:
        """The state of new episodes in all rows."""

    @abstractmethod
    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        """The state after an action [N, ...] of the action space, reward float32 [N], terminated bool [N]."""

    @abstractmethod
    def observe(self, state: State) -> Obs:
        """The observation of a state, [N, ...]; for a Dict or Tuple space a dict, as in `Obs`."""

    def action_mask(self, state: State) -> Tensor | None:
        """The allowed actions, bool [N, A], if the game defines them."""
        return None

    def render(self, state: State) -> np.ndarray:
        """A picture of one row, whose tensors are [...] on the CPU: uint8 [H, W, 3]."""
        raise NotImplementedError(f"{type(self).__name__} cannot render")

    def row_rules(self) -> RowRules | None:
        """The same rules for one row, which a CPU runs instead of these, and a GPU if asked to; None without any."""
        return None

    def transition_table(self) -> TransitionTable | None:
        """The known dynamics of a finite game, or None."""
        return None

    def goal_rewards(self) -> GoalRewards | None:
        """Its rewards for any goals, as a function of tensors, or None if it has no goals."""
        return None
