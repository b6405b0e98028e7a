"""What a decoder restores of an observation: pixels between 0 and 1, or a vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.layers.images import Layout
from gymnast.networks.layers.inputs import Obs, Vector
from gymnast.networks.layers.restored import from_vector

SMALL = 1e-8
"""Deviation below which a number is taken as constant."""
CONSTANT = 1e-6
"""The same of all numbers of observations."""


class Target(nn.Module):
    """Observations as planes [B, C, H, W] between 0 and 1, or as vectors [B, K]; `back` gives observations again.

    Images are uint8, or any Box of three or four axes with bounds. With `flat` they are vectors too. Vectors of numbers
    that do not all lie between 0 and 1 are counted in deviations from their mean in the observations of `sample`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, space: gym.Space[Any], sample: Callable[[], Obs], *, flat: bool = False) -> None:
        super().__init__()
        self.space = space
        self.low, self.span = _bounds(space)
        layout = Layout.of(space)
        if layout is not None and (self.span == 0.0 or (len(layout.shape) < 3 and space.dtype != np.uint8)):
            layout = None
        self.images = layout
        """The layout of images, restored as such or as vectors."""
        self.layout = layout = None if flat else layout
        self.vector = Vector(space)
        self.shape: tuple[int, ...] = (self.vector.out_features,) if layout is None else layout.planes
        self.size = int(np.prod(self.shape))
        numbers = layout is None and self.vector.kind in ("flat", "parts")
        self.unit = not numbers or (self.low, self.span) == (0.0, 1.0)
        """Whether all numbers lie between 0 and 1."""
        if not self.unit:
            for name, value in zip(("mean", "std"), self._units(sample()), strict=True):
                self.register_buffer(name, value)

    def _units(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Mean and deviation [K] of the numbers of observations; the deviation of constants is taken as 1."""
        vectors = self.vector(obs)
        deviation = vectors.std(0, correction=0)
        return vectors.mean(0), torch.where(deviation > SMALL, deviation, torch.ones_like(deviation))

    def count_by(self, obs: Obs) -> None:
        """Count numbers in deviations from their mean in these observations instead."""
        if not self.unit:
            for mine, value in zip((self.mean, self.std), self._units(obs), strict=True):
                mine.copy_(value)

    def forward(self, obs: Obs) -> Tensor:
        """What is restored: [B, *shape], float32."""
        if self.layout is not None:
            return (self.layout.to_planes(obs).float() - self.low) / self.span
        vector: Tensor = self.vector(obs)
        return vector if self.unit else (vector - self.mean) / self.std

    def moments(self, obs: Obs) -> tuple[Tensor, float]:
        """Means [*shape] of what is restored of observations, and the deviation of its numbers from them.

        The deviation of constant data is taken as 1.
        """
        values: Tensor = self(obs)
        mean = values.mean(0)
        spread = (values - mean).square().mean().sqrt().item()
        return mean, spread if spread > CONSTANT else 1.0

    def back(self, target: Tensor) -> Tensor:
        """Observations [B, ...] of a Box or MultiBinary, float32 in their own units, with the gradient of `target`.

        Raises:
            ValueError: observations of another space.
        """
        self.check_back()
        observed: Tensor = self.observed(target)
        return observed

    def observed(self, target: Tensor) -> Obs:
        """Observations [B, ...] of any space: numbers as by `back`, and of choices the likeliest ones."""
        if self.layout is None:
            return from_vector(self.space, target if self.unit else target * self.std + self.mean)
        images = target * self.span + self.low
        *frames, first, second, third = self.layout.shape if len(self.layout.shape) > 2 else (1, *self.layout.shape)
        if self.layout.is_last:
            images = images.view(-1, *frames, third, first, second).movedim(-3, -1)
        return images.reshape(-1, *self.layout.shape)

    def planes(self, target: Tensor) -> Tensor:
        """Images as planes [B, C, H, W] between 0 and 1, whether they are restored as such or as vectors."""
        if self.layout is not None:
            return target
        assert self.images is not None
        return (self.images.to_planes(self.back(target)) - self.low) / self.span

    def check_back(self) -> None:
        """ValueError if there is no way back from what is restored to an observation."""
        if not isinstance(self.space, spaces.Box | spaces.MultiBinary):
            raise ValueError(f"needs observations that are a Box or MultiBinary, got {self.space}")


def _bounds(space: gym.Space[Any]) -> tuple[float, float]:
    """The lower bound of a Box, and how far the upper one is from it; 0 if it has none."""
    if isinstance(space, spaces.MultiBinary):
        return 0.0, 1.0
    if not isinstance(space, spaces.Box):
        return 0.0, 0.0
    if space.dtype == np.bool_:
        return 0.0, 1.0
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return (low, high - low) if np.isfinite(high - low) and high > low else (0.0, 0.0)
