"""From an observation to the number of a table row: every finite space, and Box through equal bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymnast.envs.step import Obs

MAX_STATES = 2**28


class States:
    """Numbers the states of an observation space: `index(obs)` is int64 [N] with values below `size`.

    A Box dimension is cut into equal bins between its bounds; values outside them belong to the outermost bin.
    `bins`, `low` and `high` hold one number for each Box dimension in the order of the space, or one for all; an empty
    `low` or `high` takes the space's own bounds, which must then be finite. Raises ValueError if a bound is missing.
    """

    def __init__(
        self,
        space: gym.Space[Any],
        *,
        bins: Sequence[int] = (10,),
        low: Sequence[float] = (),
        high: Sequence[float] = (),
    ) -> None:
        self.space = space
        self._start = int(space.start) if isinstance(space, spaces.Discrete) else None
        self.radices: list[int] = []
        """The number of values of each digit of a state's number, the most significant digit first."""
        self._boxes = 0
        bounds = _boxes(space)
        width = sum(len(box_low) for box_low, _ in bounds)
        self.bins = _each("bins", list(bins), width)
        box_low = np.concatenate([part for part, _ in bounds]) if bounds else np.zeros(0)
        box_high = np.concatenate([part for _, part in bounds]) if bounds else np.zeros(0)
        self.low = np.array(_each("low", list(low), width), np.float64) if len(low) else box_low
        self.high = np.array(_each("high", list(high), width), np.float64) if len(high) else box_high
        self._check(width)
        self._collect(space)
        self.size = 1
        for radix in self.radices:
            self.size *= radix
        if self.size > MAX_STATES:
            raise ValueError(f"the observation space has {self.size} states, a table takes at most {MAX_STATES}")

    def index(self, obs: Obs) -> np.ndarray:
        """The state of each row, int64 [N]."""
        if self._start is not None and not isinstance(obs, dict):
            return obs.cpu().numpy().astype(np.int64, copy=False) - self._start
        digits: list[np.ndarray] = []
        self._boxes = 0
        self._digits(self.space, obs, digits)
        index = np.zeros(len(digits[0]), np.int64)
        for digit, radix in zip(digits, self.radices, strict=True):
            index = index * radix + digit
        return index

    def _check(self, width: int) -> None:
        for dimension in range(width):
            low, high = self.low[dimension], self.high[dimension]
            if not (np.isfinite(low) and np.isfinite(high) and high - low < 1e30):
                raise ValueError(
                    f"dimension {dimension} of the observation has no finite bounds; give low and high "
                    f"({width} numbers each), or use an agent with a network"
                )
            if not low < high:
                raise ValueError(f"low must be < high in dimension {dimension}, got {low:g} and {high:g}")
            if self.bins[dimension] < 1:
                raise ValueError(f"bins must be >= 1, got {self.bins[dimension]}")

    def _collect(self, space: gym.Space[Any]) -> None:
        """Append the radix of each digit, in the order in which `_digits` gives them."""
        if isinstance(space, spaces.Discrete):
            self.radices.append(int(space.n))
        elif isinstance(space, spaces.MultiDiscrete):
            self.radices += [int(n) for n in space.nvec.flatten()]
        elif isinstance(space, spaces.MultiBinary):
            self.radices += [2] * int(np.prod(space.shape))
        elif isinstance(space, spaces.Box):
            width = int(np.prod(space.shape))
            self.radices += self.bins[self._boxes : self._boxes + width]
            self._boxes += width
        else:
            for part in _parts(space):
                self._collect(part)

    def _digits(self, space: gym.Space[Any], obs: Any, digits: list[np.ndarray]) -> None:
        if isinstance(space, (spaces.Tuple, spaces.Dict)):
            keys = range(len(space.spaces)) if isinstance(space, spaces.Tuple) else space.spaces
            for key, part in zip(keys, _parts(space), strict=True):
                self._digits(part, obs[str(key)], digits)
            return
        values = obs.cpu().numpy()
        values = values.reshape(len(values), -1)
        if isinstance(space, spaces.Box):
            dims = slice(self._boxes, self._boxes + values.shape[1])
            low, bins = self.low[dims], np.array(self.bins[dims])
            cell = np.floor((values - low) / (self.high[dims] - low) * bins)
            values = np.clip(cell, 0, bins - 1)
            self._boxes += values.shape[1]
        elif isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
            values = values - np.asarray(space.start).reshape(-1)
        digits += list(values.astype(np.int64).T)


def _parts(space: gym.Space[Any]) -> list[gym.Space[Any]]:
    if isinstance(space, spaces.Tuple):
        return list(space.spaces)
    if isinstance(space, spaces.Dict):
        return list(space.spaces.values())
    fitting = "Discrete, MultiDiscrete, MultiBinary, Box, Tuple or Dict"
    raise ValueError(f"a table needs {fitting} observations, got {type(space).__name__}")


def _boxes(space: gym.Space[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The bounds of every Box in a space, flattened, float64."""
    if isinstance(space, spaces.Box):
        if len(space.shape) > 1:
            raise ValueError(f"a table cannot be indexed by observations of shape {space.shape}; use dqn")
        return [(space.low.astype(np.float64).reshape(-1), space.high.astype(np.float64).reshape(-1))]
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return []
    return [bounds for part in _parts(space) for bounds in _boxes(part)]


def _each(name: str, values: list[Any], width: int) -> list[Any]:
    """One number for each Box dimension."""
    if len(values) == 1:
        return values * width
    if len(values) != width and width:
        raise ValueError(f"{name} takes one number or one for each of the {width} Box dimensions, got {len(values)}")
    return values
