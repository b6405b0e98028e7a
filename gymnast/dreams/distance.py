"""How far predicted observations are from true ones."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.step import Obs, children

CONSTANT = 1e-6
"""Deviation below which a number is taken as constant; its errors are counted in its own unit."""


class Distance:
    """Distances between observations [K, ...], float32 [K].

    Of numbers: the root of the mean square error, each number counted in its standard deviation in the recorded
    observations [T, N, ...]; of uint8: as a share of 255. Of choices: the share that differ. Of a Dict or Tuple: the
    mean over its parts.
    """

    def __init__(self, space: gym.Space[Any], recorded: Obs) -> None:
        self._parts: dict[str, Distance] = {}
        self._scale: Tensor | None = None
        if isinstance(space, (spaces.Dict, spaces.Tuple)):
            assert isinstance(recorded, dict)
            self._parts = {name: Distance(part, recorded[name]) for name, _, part in children(space)}
        elif isinstance(space, spaces.Box) and space.dtype != np.bool_:
            assert isinstance(recorded, Tensor)
            self._scale = torch.tensor(255.0) if recorded.dtype is torch.uint8 else _deviation(recorded)

    @property
    def unit(self) -> str:
        """What a distance of 1 is."""
        if self._parts:
            units = dict.fromkeys(part.unit for part in self._parts.values())
            return " or ".join(units)
        if self._scale is None:
            return "share of wrong values"
        return "255" if self._scale.ndim == 0 else "standard deviation"

    def __call__(self, one: Obs, other: Obs) -> Tensor:
        if self._parts:
            assert isinstance(one, dict)
            assert isinstance(other, dict)
            return torch.stack([part(one[name], other[name]) for name, part in self._parts.items()]).mean(0)
        assert isinstance(one, Tensor)
        assert isinstance(other, Tensor)
        if self._scale is None:
            return (one != other).float().flatten(1).mean(1) if one.ndim > 1 else (one != other).float()
        return ((one.float() - other.float()) / self._scale).flatten(1).square().mean(1).sqrt()


def _deviation(recorded: Tensor) -> Tensor:
    """The standard deviation of each number, [...] of observations [T, N, ...]."""
    found = recorded.flatten(0, 1).double().std(0, correction=0).float()
    return torch.where(found > CONSTANT, found, torch.ones_like(found))
