"""The actions of a row since its last seeded reset, which a replay repeats. No torch: workers use it."""

from __future__ import annotations

from array import array
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SIZES = (np.uint8, np.int16, np.int32, np.int64)
"""Types that numbers of actions are written in, the smallest that holds them."""


class ActionLog:
    """Actions, stored compactly; after more than `limit` of them nothing is kept until `clear`."""

    __slots__ = ("_bytes", "_dtype", "_ints", "_shape", "count", "limit")

    def __init__(self, space: gym.Space[Any], *, limit: int) -> None:
        self._shape, self._dtype = space.shape or (), np.dtype(space.dtype)
        self._ints = array("q") if isinstance(space, spaces.Discrete) else None
        self._bytes = bytearray()
        self.limit = limit
        self.count = 0

    @property
    def complete(self) -> bool:
        """Whether all actions are kept."""
        return self.count <= self.limit

    def add(self, action: Any) -> bool:
        """Add an action; False at the first one past the limit, when all are dropped."""
        self.count += 1
        if self.count > self.limit:
            if self.count == self.limit + 1:
                self._forget()
                return False
        elif self._ints is not None:
            self._ints.append(action)
        else:
            self._bytes += action.tobytes()
        return True

    def clear(self) -> None:
        self._forget()
        self.count = 0

    def _forget(self) -> None:
        self._bytes = bytearray()
        if self._ints is not None:
            self._ints = array("q")

    def array(self) -> np.ndarray:
        """All actions [T, ...]."""
        if self._ints is None:
            flat: np.ndarray = np.frombuffer(bytes(self._bytes), self._dtype).copy()
            return flat.reshape(-1, *self._shape)
        actions = np.array(self._ints, np.int64)
        low, high = (int(actions.min()), int(actions.max())) if actions.size else (0, 0)
        fitting = (size for size in SIZES if np.iinfo(size).min <= low and high <= np.iinfo(size).max)
        return actions.astype(next(fitting))

    def of(self, actions: np.ndarray) -> list[Any]:
        """The actions of `array`, as they were added."""
        return actions.tolist() if self._ints is not None else list(actions)
