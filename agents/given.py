"""Observations and actions as a caller gives and gets them: NumPy or tensors, one of a space or a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.step import Obs, batched, children


def rows_of(values: Any, space: gym.Space[Any], *, of: str, what: str = "an observation") -> int | None:
    """N of a batch [N, ...] of a space's values, None for a single one.

    `of` is the function that was given them, `what` a name of one. ValueError if it is neither.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = children(space)
        found = {rows_of(_part(values, name, key, of, what), part, of=of, what=what) for name, key, part in parts}
        if len(found) != 1:
            raise ValueError(f"{of} was given {what} whose parts have different numbers of rows")
        return found.pop()
    single = space.shape or ()
    try:
        shape = tuple(np.shape(values))
    except ValueError:  # parts of unequal lengths
        raise ValueError(f"{of} was given {what} that is not an array of numbers") from None
    if shape == single:
        return None
    if shape[1:] == single and len(shape) == len(single) + 1 and shape[0] > 0:
        return int(shape[0])
    many = ", ".join(["N", *map(str, single)])
    raise ValueError(f"{of} was given {what} of shape {shape} but its space says {single}, or ({many}) for a batch")


def as_batch(
    values: Any, space: gym.Space[Any], device: torch.device, *, single: bool, of: str, what: str = "an observation"
) -> Obs:
    """Values of a space, one or a batch, as tensors [N, ...] on the device; ValueError if they are outside of it."""
    try:
        return batched(space, _arrays(values, space, single, of, what), device)
    except ValueError as error:
        raise ValueError(as_argument(error, of)) from None


def as_argument(error: ValueError, of: str) -> str:
    """A problem with an environment's value, reworded for an argument of a function."""
    text = str(error)
    return text if text.startswith(f"{of} was given") else f"{of} {text.replace('gave', 'was given', 1)}"


def as_given(values: Obs, space: gym.Space[Any], *, single: bool) -> Any:
    """Tensors [N, ...] in the form that the space has them: arrays of its dtype, for a single one an int of Discrete.

    The arrays are copies: the tensors may be used again.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        assert isinstance(values, Mapping)
        found = {key: as_given(values[name], part, single=single) for name, key, part in children(space)}
        return found if isinstance(space, spaces.Dict) else tuple(found.values())
    assert isinstance(values, Tensor)
    array = values.detach().cpu().numpy().astype(space.dtype)
    if not single:
        return array
    return int(array[0]) if isinstance(space, spaces.Discrete) else array[0]


def _arrays(values: Any, space: gym.Space[Any], single: bool, of: str, what: str) -> Any:
    """The values as arrays [N, ...], a dict for a Dict or Tuple, by the keys of the space."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = children(space)
        return {key: _arrays(_part(values, name, key, of, what), part, single, of, what) for name, key, part in parts}
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array[None] if single else array


def _part(values: Any, name: str, key: Any, of: str, what: str) -> Any:
    """A part of a Dict's or Tuple's value, also if it is already an `Obs`."""
    for known in (key, name):
        try:
            return values[known]
        except (KeyError, IndexError, TypeError):
            continue
    raise ValueError(f"{of} was given {what} without the part {key!r} of its space")
