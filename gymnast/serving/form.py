"""Observations and masks of a request, checked against the policy's spaces, and actions as an answer has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymnast.envs.rows import incoming
from gymnast.envs.rows.incoming import BadValue
from gymnast.serving.refused import Refused

SLACK = 1e-5
"""Rounding beyond a bound that an observation may have, relative to the bound or to 1."""


class Leaf:
    """An array space: what its observations have to be."""

    def __init__(self, space: gym.Space[Any], place: str) -> None:
        if space.shape is None or space.dtype is None:
            raise ValueError(f"observations of {space} cannot be served")
        self.space, self.place, self.shape = space, place, tuple(space.shape)
        self.dtype = np.dtype(space.dtype)
        self.low, self.high = _bounds(space, self.dtype)
        self._least, self._most = _finite_bounds(space, self.low, self.high)

    def read(self, values: Any) -> tuple[np.ndarray, int | None]:
        """The values as an array [N, ...] of the space's dtype, and N; None for a single observation."""
        try:
            array = np.asarray(values)
        except (ValueError, OverflowError):  # parts of unequal lengths
            raise Refused(400, f"{self.place} is not an array of numbers") from None
        if array.dtype.kind not in "biuf":
            raise Refused(400, f"{self.place} is not an array of numbers")
        if array.shape == self.shape:
            array, rows = array[None], None
        elif array.shape[1:] == self.shape and array.ndim == len(self.shape) + 1 and len(array) > 0:
            rows = len(array)
        else:
            many = ", ".join(["N", *map(str, self.shape)])
            raise Refused(400, f"{self.place} has shape {array.shape}, but needs {self.shape}, or ({many}) for a batch")
        return self._checked(array), rows

    def _checked(self, array: np.ndarray) -> np.ndarray:
        if self._is_fine(array):
            return array.astype(self.dtype, copy=False)
        try:
            batch = incoming.fitted(array, self.space)
            incoming.check_range(batch, self.space)
            if batch.dtype.kind == "f":
                incoming.check_finite(batch)
        except BadValue as error:
            said = str(error).removeprefix("gave ").replace("its space says", "the policy needs")
            raise Refused(400, f"{self.place}: {said}") from None
        if self.low is not None and self.high is not None:
            wrong = (batch < self.low) | (batch > self.high)
            if wrong.any():
                place = tuple(int(index) for index in np.argwhere(wrong)[0])
                low, high = (bound[place[1:]] for bound in (self.low, self.high))
                at = f" at {list(place[1:])}" if place[1:] else ""
                raise Refused(400, f"{self.place}: {batch[place]:g}{at} is outside {low:g} to {high:g}")
        return batch

    def _is_fine(self, array: np.ndarray) -> bool:
        """Whether nothing can be wrong with floats, by one look at them; what may be wrong is looked for otherwise."""
        if self._least is None or array.dtype.kind != "f":
            return False
        return bool(((array >= self._least) & (array <= self._most)).all())


def _bounds(space: gym.Space[Any], dtype: np.dtype[Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The bounds of a Box with some room for rounding; None where every number of its dtype lies within them."""
    if not isinstance(space, spaces.Box):
        return None, None
    low, high = space.low, space.high
    if dtype.kind == "f":
        if not (np.isfinite(low).any() or np.isfinite(high).any()):
            return None, None
        with np.errstate(over="ignore", invalid="ignore"):
            room = [np.where(np.isfinite(one), SLACK * np.maximum(1.0, np.abs(one)), 0.0) for one in (low, high)]
        return (low - room[0]).astype(dtype), (high + room[1]).astype(dtype)
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return (None, None) if (low == limits[0]).all() and (high == limits[1]).all() else (low, high)


def _finite_bounds(
    space: gym.Space[Any], low: np.ndarray | None, high: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Bounds of a Box of floats that no infinity lies within, in float64; None for other spaces."""
    dtype = np.dtype(space.dtype)
    if not isinstance(space, spaces.Box) or dtype.kind != "f":
        return None, None
    most = float(np.finfo(dtype).max)
    if low is None or high is None:
        return np.full(space.shape, -most), np.full(space.shape, most)
    return np.maximum(low.astype(np.float64), -most), np.minimum(high.astype(np.float64), most)


class Form:
    """What requests of a policy hold."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._parts = _compiled(observation_space, "obs")
        self._choices = sum(incoming.mask_sizes(action_space))

    def read(self, values: Any) -> tuple[Any, int | None]:
        """Observations [N, ...] and N, None for a single one; Refused for anything that is not in the space."""
        return _read(self._parts, values)

    def read_mask(self, values: Any, rows: int | None) -> np.ndarray | None:
        """Allowed actions, bool [N, A]; None if none were given."""
        if values is None:
            return None
        if not self._choices:
            raise Refused(400, f"action_mask has no meaning for actions of {self.action_space}")
        shape = (self._choices,) if rows is None else (rows, self._choices)
        try:
            array = np.asarray(values)
        except ValueError:
            array = np.empty(0, object)
        if array.shape != shape or array.dtype.kind not in "biuf":
            raise Refused(400, f"action_mask must be an array of {shape}, 1 for each allowed action")
        try:
            allowed = incoming.bits(array.reshape(-1, self._choices))
        except BadValue:
            raise Refused(400, "action_mask must hold 1 for each allowed action, else 0") from None
        if any(incoming.allows_none(row, self.action_space) for row in allowed):
            raise Refused(400, "action_mask allows no action")
        return allowed


def _compiled(space: gym.Space[Any], place: str) -> Any:
    if isinstance(space, spaces.Dict):
        return {str(key): _compiled(part, f"{place}.{key}") for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_compiled(part, f"{place}[{index}]") for index, part in enumerate(space.spaces))
    return Leaf(space, place)


def _read(parts: Any, values: Any, place: str = "obs") -> tuple[Any, int | None]:
    if isinstance(parts, Leaf):
        return parts.read(values)
    if isinstance(parts, dict):
        if not isinstance(values, Mapping) or set(values) != set(parts):
            raise Refused(400, f"{place} must be an object with the keys {', '.join(parts)}")
        found = {key: _read(part, values[key], f"{place}.{key}") for key, part in parts.items()}
        batch: Any = {key: value for key, (value, _) in found.items()}
        counts = {rows for _, rows in found.values()}
    else:
        if isinstance(values, Mapping):  # of an archive, which names the parts
            values = [values.get(str(index)) for index in range(len(values))]
        if not isinstance(values, list | tuple) or len(values) != len(parts):
            raise Refused(400, f"{place} must be a list of {len(parts)} parts")
        read = [
            _read(part, value, f"{place}[{index}]")
            for index, (part, value) in enumerate(zip(parts, values, strict=True))
        ]
        batch, counts = tuple(value for value, _ in read), {rows for _, rows in read}
    if len(counts) != 1:
        raise Refused(400, f"{place} has parts with different numbers of observations")
    return batch, counts.pop()


def stacked(batches: list[Any]) -> Any:
    """Batches of values [N, ...], one after the other."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, dict):
        return {key: stacked([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(stacked([batch[index] for batch in batches]) for index in range(len(first)))
    return np.concatenate(batches)


def rows_at(values: Any, place: Any) -> Any:
    """Some of the rows of values [N, ...]; with an integer the values of that row."""
    if isinstance(values, dict):
        return {key: rows_at(value, place) for key, value in values.items()}
    if isinstance(values, tuple):
        return tuple(rows_at(value, place) for value in values)
    return values[place]


def as_json(values: Any) -> Any:
    """Actions as JSON has them: numbers, lists, objects for a Dict."""
    if isinstance(values, dict):
        return {key: as_json(value) for key, value in values.items()}
    if isinstance(values, tuple):
        return [as_json(value) for value in values]
    return values.tolist()
