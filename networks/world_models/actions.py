"""Actions as a model reads them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional


class ActionInputs:
    """Actions of a space [B, ...] as vectors [B, size]: choices one-hot, bits 0 or 1, a finite Box from -1 to 1."""

    def __init__(self, space: gym.Space[Any], *, device: torch.device) -> None:
        self.is_choice = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        self.is_box = isinstance(space, spaces.Box)
        self.size = int(np.prod(space.shape or ()))
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            sizes = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec).flatten()
            offset = np.cumsum(sizes) - sizes - np.asarray(space.start).flatten()
            self.offset, self.size = torch.from_numpy(offset.astype(np.int64)).to(device), int(sizes.sum())
        elif isinstance(space, spaces.Box):
            self.low, self.high = (
                torch.from_numpy(np.float32(b).flatten()).to(device) for b in (space.low, space.high)
            )

    def __call__(self, action: Tensor) -> Tensor:
        rows = action.reshape(len(action), -1)
        if self.is_choice:
            one_hot = functional.one_hot(rows + self.offset, self.size)
            return (one_hot.squeeze(1) if rows.shape[1] == 1 else one_hot.sum(1)).float()
        if self.is_box:
            return 2.0 * (rows - self.low) / (self.high - self.low) - 1.0
        return rows.float()
