"""The bounds of a Box, between which policies in [-1, 1] act."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.distributions.choices import reshaped, torch_dtype


class Bounds:
    """A finite Box of D floats, and its actions scaled to [-1, 1] and flattened.

    Raises:
        ValueError: integers, or bounds that are not finite.
    """

    def __init__(self, space: spaces.Box, *, device: torch.device) -> None:
        if not np.issubdtype(space.dtype, np.floating):
            raise ValueError(f"a policy cannot act in a Box of {space.dtype}; use a Box of floats or MultiDiscrete")
        if not (np.isfinite(space.low) & np.isfinite(space.high) & (space.low < space.high)).all():
            raise ValueError(f"actions need a Box with finite bounds, low < high, got {' '.join(str(space).split())}")
        self.numbers = math.prod(space.shape)
        self.env_shape, self.env_dtype = space.shape, torch_dtype(space)
        self.low, self.high = (torch.from_numpy(bound.flatten()).to(device) for bound in (space.low, space.high))

    def to_env(self, action: Tensor) -> Tensor:
        """Actions [..., D] as the environment's [..., *shape]; what lies outside [-1, 1] is clipped."""
        share = (action.clamp(-1.0, 1.0) + 1.0) / 2.0
        scaled = torch.lerp(self.low.float(), self.high.float(), share)
        return reshaped(scaled.to(self.env_dtype).clamp(self.low, self.high), self.env_shape)
