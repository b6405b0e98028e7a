"""The loops of a ring of one stream, single frames and single steps: the kernels of `ring_kernels.py` in NumPy.

A plain DQN in one environment needs no others, and so neither waits for Numba nor keeps it in memory.
"""

from __future__ import annotations

from ctypes import string_at

import numpy as np
from torch import Tensor

from gymnast.replay.ring_arrays import CUT, Arrays, Windows


class OneStream:
    """`ring_arrays.Loops` for N = stack = n = 1: a step makes its own transition ready, the next slot is its successor.

    `store` reads and writes all numbers of a step at once: a single one takes NumPy almost as long.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._moves: list[tuple[bool, int]] = []  # of the last step: whether a frame is of next_obs, and its slot

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
        ring = self.arrays
        slot, fresh, length, cut = ring.streams[:, 0].tolist()
        count, used, adds, *_ = ring.counts.tolist()
        adds += 1
        if cut and length:
            ring.stop[slot - 1], length = True, 0
        fresh, self._moves, changed = fresh or cut, [], []
        if active is None or active.item():
            at = (slot + fresh) % ring.slots
            slot = (at + 1) % ring.slots
            self._moves = [(False, at), (True, slot)] if fresh else [(True, slot)]
            for _, written in self._moves:
                ring.touched[written // ring.block], used = adds, max(used, written + 1)
                if ring.ready[written]:
                    ring.ready[written], count = False, count - 1
                    changed.append(written)
            ends = terminated.item()
            lost, fresh = ends or (life_lost is not None and life_lost.item()), ends or truncated.item()
            ring.action[at], ring.reward[at], ring.bootstrap[at] = action.item(), reward.item(), not lost
            ring.ready[at], ring.stop[at], count = True, lost or fresh, count + 1
            length = 0 if lost or fresh else length + 1
            changed.append(at)
        ring.streams[:, 0] = slot, fresh, length, 0
        ring.changed[: len(changed)] = changed
        ring.counts[:] = count, used, adds, len(self._moves), len(changed), fresh

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
        np.multiply(out.discount, ring.powers[0, 1], out=out.discount)
        np.add(index, 1, out=out.successor)
        out.successor[out.successor == ring.slots] = 0

    def gather(
        self, frames: np.ndarray, index: np.ndarray, successor: np.ndarray, obs: np.ndarray, next_obs: np.ndarray
    ) -> None:
        frames.take(index, 0, obs[:, 0], "clip")
        frames.take(successor, 0, next_obs[:, 0], "clip")
