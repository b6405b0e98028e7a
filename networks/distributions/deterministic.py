"""Actions from the outputs of a deterministic policy, for each kind of action space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

Choose: TypeAlias = Callable[[Tensor, "Tensor | None"], Tensor]
"""From outputs [N, P] and a mask (bool [N, A], for Discrete; None allows all) to the environment's actions [N, ...]."""


def chooser(action_space: gym.Space[Any], *, device: torch.device | str = "cpu") -> tuple[int, Choose]:
    """The number of outputs of a policy, and their conversion to actions.

    Discrete and each part of MultiDiscrete take the largest output, a bit of MultiBinary is 1 if its output is
    positive. A Box of floats takes the tanh between finite bounds, and elsewhere the output, clipped to any finite
    bound.

    Raises:
        ValueError: a space of another kind, or a Box of integers.
    """
    space = action_space
    if isinstance(space, spaces.Discrete):
        return int(space.n), _discrete(int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return int(np.sum(space.nvec)), _multi_discrete(space, torch.device(device))
    if isinstance(space, spaces.MultiBinary):
        return math.prod(space.shape), _multi_binary(space)
    if not isinstance(space, spaces.Box):
        kind = type(space).__name__
        raise ValueError(f"a policy cannot act in a {kind} space; use Discrete, MultiDiscrete, MultiBinary or Box")
    if not np.issubdtype(space.dtype, np.floating):
        raise ValueError(f"a policy cannot act in a Box of {space.dtype}; use a Box of floats or MultiDiscrete")
    return math.prod(space.shape), _box(space, torch.device(device))


def _discrete(start: int) -> Choose:
    def choose(output: Tensor, mask: Tensor | None) -> Tensor:
        """The first action if the mask allows none."""
        if mask is not None:
            output = output.masked_fill(~mask, -torch.inf)
        action = output.argmax(1)
        return action + start if start else action

    return choose


def _multi_discrete(space: spaces.MultiDiscrete, device: torch.device) -> Choose:
    sizes, shape = np.asarray(space.nvec).flatten().tolist(), space.shape
    start = torch.from_numpy(np.asarray(space.start).flatten().astype(np.int64)).to(device)

    def choose(output: Tensor, mask: Tensor | None) -> Tensor:
        action = torch.stack([part.argmax(1) for part in torch.split(output, sizes, 1)], 1) + start
        return action.view(-1, *shape)

    return choose


def _multi_binary(space: spaces.MultiBinary) -> Choose:
    def choose(output: Tensor, mask: Tensor | None) -> Tensor:
        return (output > 0).to(torch.int8).view(-1, *space.shape)

    return choose


def _box(space: spaces.Box, device: torch.device) -> Choose:
    dtype = torch.from_numpy(np.empty(0, space.dtype)).dtype
    low, high = (torch.from_numpy(bound.flatten()).to(device) for bound in (space.low, space.high))
    finite = low.isfinite() & high.isfinite()
    centre = torch.where(finite, low / 2 + high / 2, 0)  # in halves: the difference of large bounds would overflow
    reach = torch.where(finite, high / 2 - low / 2, 0)

    def choose(output: Tensor, mask: Tensor | None) -> Tensor:
        output = output.to(dtype)
        action = torch.where(finite, centre + reach * output.tanh(), output)
        return action.clamp(low, high).view(-1, *space.shape)  # rounding stays in bounds

    return choose
