"""Storage layout of observations in a replay: one array per part, and single frames of stacked observations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

Obs = Any  # a tensor or a nested dict of them; `envs.step.Obs`, which replay does not import
DTYPES = {np.dtype(name): getattr(torch, name) for name in ("uint8", "int8", "int16", "int32", "int64", "bool")}


@dataclass(frozen=True)
class Leaf:
    """One tensor of an observation."""

    path: tuple[str, ...]
    shape: tuple[int, ...]  # of one frame
    dtype: torch.dtype

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class Layout:
    """The tensors that make up observations of a space; with `stack` > 1, frames of shape[1:] of one Box.

    Floats are kept as float32, integers and booleans as they are.

    Raises:
        ValueError: for a space without tensors, or one that is not a stack of `stack` frames.
    """

    def __init__(self, space: gym.Space[Any], *, stack: int = 1) -> None:
        self.stack = stack
        if stack > 1 and not (isinstance(space, spaces.Box) and space.shape[:1] == (stack,)):
            raise ValueError(
                f"frame_stack {stack} needs observations Box({stack}, ...), got {space}; use frame_stack 1"
            )
        self.leaves = _leaves(space, (), stack)
        self.frame_bytes = sum(leaf.nbytes for leaf in self.leaves)

    def check_stack(self, obs: Obs, next_obs: Obs, active: Tensor | None) -> None:
        """Raise ValueError if `next_obs` is not `obs` shifted by one frame."""
        for before, after in zip(self.split(obs), self.split(next_obs), strict=True):
            same = (before[:, 1:] == after[:, :-1]).flatten(1).all(1)
            if not (same if active is None else same | ~active).all():
                raise ValueError(
                    f"observations are not stacks of {self.stack} frames with the newest last: set frame_stack 1"
                )

    def split(self, obs: Obs) -> list[Tensor]:
        """The tensors of an observation, in the order of `leaves`."""
        if not isinstance(obs, dict):
            return [obs]
        tensors = []
        for leaf in self.leaves:
            part: Obs = obs
            for key in leaf.path:
                part = part[key]
            tensors.append(part)
        return tensors

    def join(self, tensors: list[Tensor]) -> Obs:
        """The observation that consists of these tensors."""
        if not self.leaves[0].path:
            return tensors[0]
        obs: dict[str, Obs] = {}
        for leaf, tensor in zip(self.leaves, tensors, strict=True):
            inner = obs
            for key in leaf.path[:-1]:
                inner = inner.setdefault(key, {})
            inner[leaf.path[-1]] = tensor
        return obs


def dense(tensor: Tensor, dtype: torch.dtype, size: int) -> Tensor:
    """The tensor itself if it is dense, on the CPU and of this type, else a copy that is.

    ValueError if it has another size.
    """
    if tensor.numel() != size:
        raise ValueError(f"the replay was made for {size} numbers, got a tensor of shape {tuple(tensor.shape)}")
    if tensor.dtype is dtype and tensor.is_cpu and tensor.is_contiguous():
        return tensor
    return tensor.to("cpu", dtype).contiguous()


def _leaves(space: gym.Space[Any], path: tuple[str, ...], stack: int) -> list[Leaf]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return [leaf for key, part in named for leaf in _leaves(part, (*path, str(key)), 1)]
    if space.shape is None or space.dtype is None:
        raise ValueError(
            f"a replay cannot store a {type(space).__name__} observation; "
            "use Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of them"
        )
    shape = tuple(space.shape)
    dtype = np.dtype(space.dtype)
    return [Leaf(path, shape[1:] if stack > 1 else shape, DTYPES.get(dtype, torch.float32))]
