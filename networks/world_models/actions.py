"""Actions as a model reads them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.layers.inputs import Vector


class ActionInputs:
    """Actions of a space [B, ...] as vectors [B, size]: as `Vector` has them, but a finite Box from -1 to 1."""

    def __init__(self, space: gym.Space[Any], *, device: torch.device) -> None:
        self._vector = Vector(space).to(device)
        self.size = self._vector.out_features
        self._bounds: tuple[Tensor, Tensor] | None = None
        if isinstance(space, spaces.Box):
            low, high = (torch.from_numpy(np.float32(bound).flatten()).to(device) for bound in (space.low, space.high))
            self._bounds = low, high

    def __call__(self, action: Tensor) -> Tensor:
        vector: Tensor = self._vector(action)
        if self._bounds is None:
            return vector
        low, high = self._bounds
        return 2.0 * (vector - low) / (high - low) - 1.0
