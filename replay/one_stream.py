"""The loops of a ring of one stream, single frames and single steps: the kernels of `ring_kernels.py` in NumPy.

A plain DQN in one environment needs no others, and so neither waits for Numba nor keeps it in memory.
"""

from __future__ import annotations

from ctypes import string_at
from typing import Any

import numpy as np
from torch import Tensor

from gymnast.replay.ring_arrays import ADDS, BEGINS, CHANGES, COUNT, CUT, FRESH, LENGTH, SLOT, USED, Arrays, Windows


class OneStream:
    """`ring_arrays.Loops` for N = stack = n = 1: a step makes its own transition ready, the next slot is its successor.

    `store` works on memory views, which read or write one number six times as fast as arrays.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._streams, self._counts, self._changed = arrays.streams[:, 0].data, arrays.counts.data, arrays.changed.data
        self._action, self._bootstrap = arrays.action.data, arrays.bootstrap.data
        self._reward: Any = arrays.reward.data  # mypy takes every memory view for one of integers
        self._stop, self._ready, self._touched = arrays.stop.data, arrays.ready.data, arrays.touched.data
        # Arrays of no dimension: NumPy takes twice as long for numbers.
        self._gamma, self._one, self._slots = arrays.powers[0, 1, ...], np.array(1), np.array(arrays.slots)
        self._moves: list[tuple[bool, int]] = []  # of the last step: whether a frame is of next_obs, and its slot

    def __getstate__(self) -> dict[str, Any]:
        return {"arrays": self.arrays}  # memory views cannot be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["arrays"])  # type: ignore[misc]

    def store(
        self,
        action: Tensor,
        reward: Tensor,
        *,
        terminated: Tensor,
        truncated: Tensor,
        life_lost: Tensor | None,
        active: Tensor | None,
    ) -> None:
        streams, counts = self._streams, self._counts
        slot, fresh, length, cut = streams
        counts[ADDS] += 1
        counts[CHANGES] = 0
        self._moves = []
        if cut:
            fresh, streams[CUT] = True, False
            if length:
                self._stop[slot - 1], length = True, 0
        if active is None or active.item():
            if fresh:
                slot = self._write(slot, of_next=False)
            ends = bool(terminated.item())
            lost, fresh = ends or (life_lost is not None and bool(life_lost.item())), ends or bool(truncated.item())
            self._action[slot], self._reward[slot], self._bootstrap[slot] = int(action.item()), reward.item(), not lost
            self._stop[slot] = stops = lost or fresh
            streams[SLOT], length = self._write(slot, of_next=True), 0 if stops else length + 1
            self._change(slot, True)
        streams[FRESH], streams[LENGTH] = fresh, length
        counts[BEGINS] = fresh

    def _write(self, slot: int, *, of_next: bool) -> int:
        """Give a frame the slot after `slot`, whose transition is no longer ready."""
        counts = self._counts
        slot = slot + 1 if slot + 1 < self.arrays.slots else 0
        self._moves.append((of_next, slot))
        self._touched[slot // self.arrays.block] = counts[ADDS]
        if slot >= counts[USED]:
            counts[USED] = slot + 1
        self._change(slot, False)
        return slot

    def _change(self, slot: int, ready: bool) -> None:
        if self._ready[slot] != ready:
            counts = self._counts
            self._ready[slot] = ready
            self._changed[counts[CHANGES]] = slot
            counts[CHANGES] += 1
            counts[COUNT] += 1 if ready else -1

    def copy(self, frames: np.ndarray, before: Tensor, after: Tensor) -> None:
        for is_next, slot in self._moves:
            frames[slot].data[:] = string_at((after if is_next else before).data_ptr(), frames.shape[1])

    def differ(self, frames: np.ndarray, obs: Tensor) -> None:
        slot, fresh, *_ = self.arrays.streams[:, 0].tolist()
        if not fresh and frames[slot].tobytes() != string_at(obs.data_ptr(), frames.shape[1]):
            self.arrays.streams[CUT, 0] = 1

    def windows(self, index: np.ndarray, out: Windows) -> None:
        ring = self.arrays
        ring.action.take(index, out=out.action, mode="clip")  # "raise" would copy `out`
        ring.reward.take(index, out=out.reward, mode="clip")
        ring.bootstrap.take(index, out=out.discount, mode="clip")
        np.multiply(out.discount, self._gamma, out=out.discount)
        np.add(index, self._one, out=out.successor)
        np.remainder(out.successor, self._slots, out=out.successor)

    def gather(
        self, frames: np.ndarray, index: np.ndarray, successor: np.ndarray, obs: np.ndarray, next_obs: np.ndarray
    ) -> None:
        frames.take(index, 0, obs[:, 0], "clip")
        frames.take(successor, 0, next_obs[:, 0], "clip")
