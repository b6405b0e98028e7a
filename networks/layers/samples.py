"""Random observations of a space, as environments give them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.layers.inputs import DTYPES, Obs

WIDE = 1e6
"""A Box's dimension of this width or more is taken to be unbounded: 3.4e38 is how some environments say so."""


def sampled(space: gym.Space[Any], count: int, *, generator: torch.Generator) -> Obs:
    """`count` observations, uniform between their bounds; standard normal, within them, where these are far apart.

    Raises:
        ValueError: a space of another kind than networks read.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return {str(key): sampled(part, count, generator=generator) for key, part in parts}
    if isinstance(space, spaces.Box):
        return _box(space, count, generator)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec)
        first = torch.as_tensor(np.asarray(space.start).astype(np.int64))
    elif isinstance(space, spaces.MultiBinary):
        sizes, first = np.full(space.shape, 2), torch.zeros((), dtype=torch.int64)
    else:
        raise ValueError(f"a network cannot read a {type(space).__name__} observation")
    drawn = torch.rand((count, *sizes.shape), generator=generator, dtype=torch.float64)
    whole = first + (drawn * torch.as_tensor(sizes.astype(np.int64))).long()
    return whole.to(torch.int8) if isinstance(space, spaces.MultiBinary) else whole


def _box(space: spaces.Box, count: int, generator: torch.Generator) -> Tensor:
    low, high = (torch.as_tensor(bound.astype(np.float64)) for bound in (space.low, space.high))
    uniform = torch.rand((count, *space.shape), generator=generator, dtype=torch.float64)
    normal = torch.randn((count, *space.shape), generator=generator, dtype=torch.float64)
    bounded = high - low < WIDE
    if not np.issubdtype(space.dtype, np.floating):
        high = high + 1.0  # and below it
    values = torch.where(bounded, low + uniform * torch.where(bounded, high - low, 0.0), normal.clamp(low, high))
    if not np.issubdtype(space.dtype, np.floating):
        values = values.floor()
    return torch.as_tensor(values.numpy().astype(DTYPES.get(np.dtype(space.dtype).name, space.dtype)))
