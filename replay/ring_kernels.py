"""The loops of `ring.py` over rows, frames and samples, compiled by Numba.

The tensors of every step are passed as addresses, because passing an array costs more than storing a row: the ring has
checked that they are dense, on the CPU, and of the right type and size, and passes its own arrays as one struct of
their addresses. Frames of any type are bytes here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numba.np.numpy_support import carray
from torch import Tensor

from gymnast.pointer import pointer
from gymnast.replay.layout import dense
from gymnast.replay.ring_arrays import (
    ADDS,
    BEGINS,
    CHANGES,
    COUNT,
    CUT,
    FRESH,
    LENGTH,
    MOVES,
    REACH,
    SLOT,
    USED,
    Arrays,
    Windows,
)

STRUCT = np.dtype([(name, np.int64) for name in Arrays._fields])


def struct_of(arrays: Arrays) -> np.ndarray:
    """The arrays as the kernels take them, STRUCT [1]; it does not keep them alive."""
    return np.array([tuple(part.ctypes.data if isinstance(part, np.ndarray) else part for part in arrays)], STRUCT)


class Compiled:
    """`ring_arrays.Loops` by the kernels below."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays, self.struct = arrays, struct_of(arrays)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["arrays"])  # type: ignore[misc]  # a copy's arrays have their own addresses

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
        rows = self.arrays.num_envs
        action, reward = dense(action, torch.int64, rows), dense(reward, torch.float32, rows)
        terminated, truncated = dense(terminated, torch.bool, rows), dense(truncated, torch.bool, rows)
        life_lost = None if life_lost is None else dense(life_lost, torch.bool, rows)
        active = None if active is None else dense(active, torch.bool, rows)
        lost, acting = 0 if life_lost is None else life_lost.data_ptr(), 0 if active is None else active.data_ptr()
        ends, cuts = terminated.data_ptr(), truncated.data_ptr()
        store(self.struct, action.data_ptr(), reward.data_ptr(), ends, cuts, lost, acting)

    def copy(self, frames: np.ndarray, before: Tensor, after: Tensor) -> None:
        copy(self.struct, frames, before.data_ptr(), after.data_ptr())

    def differ(self, frames: np.ndarray, obs: Tensor) -> None:
        differ(self.struct, frames, obs.data_ptr())

    def windows(self, index: np.ndarray, out: Windows) -> None:
        windows(self.struct, index, *out)

    def gather(
        self, frames: np.ndarray, index: np.ndarray, successor: np.ndarray, obs: np.ndarray, next_obs: np.ndarray
    ) -> None:
        gather(self.struct, frames, index, successor, obs, next_obs)


@njit(cache=True, nogil=True)
def _arrays(struct: np.ndarray) -> Arrays:
    at = struct[0]
    slots, num_envs, stack, n = at.slots, at.num_envs, at.stack, at.n
    return Arrays(
        carray(pointer(at.action), slots, np.int64),
        carray(pointer(at.reward), slots, np.float32),
        carray(pointer(at.bootstrap), slots, np.float32),
        carray(pointer(at.stop), slots, np.bool_),
        carray(pointer(at.ready), slots, np.bool_),
        carray(pointer(at.touched), (slots - 1) // at.block + 1, np.int64),
        carray(pointer(at.powers), (at.groups, n + 1), np.float32),
        carray(pointer(at.streams), (4, num_envs), np.int64),
        carray(pointer(at.counts), 7, np.int64),
        carray(pointer(at.moves), (num_envs * (stack + 1), 2), np.int64),
        carray(pointer(at.changed), num_envs * (3 * stack + 2 * n), np.int64),
        slots,
        num_envs,
        stack,
        n,
        at.block,
        at.groups,
    )


@njit(cache=True, nogil=True)
def store(
    struct: np.ndarray, action: int, reward: int, terminated: int, truncated: int, life_lost: int, active: int
) -> None:
    """Store all of a step except its frames, from the addresses of tensors [N], 0 for a missing one."""
    ring = _arrays(struct)
    num_envs, stack, streams, counts = ring.num_envs, ring.stack, ring.streams, ring.counts
    actions, rewards = carray(pointer(action), num_envs, np.int64), carray(pointer(reward), num_envs, np.float32)
    ends, cuts = carray(pointer(terminated), num_envs, np.uint8), carray(pointer(truncated), num_envs, np.uint8)
    losses, runs = carray(pointer(life_lost), num_envs, np.uint8), carray(pointer(active), num_envs, np.uint8)
    counts[ADDS] += 1
    counts[MOVES] = counts[CHANGES] = counts[BEGINS] = 0
    for row in range(num_envs):
        if streams[CUT, row]:
            streams[CUT, row], streams[FRESH, row] = 0, 1
            if streams[LENGTH, row]:
                _close(ring, row, (streams[SLOT, row] - num_envs) % ring.slots, True)
        if active == 0 or runs[row]:
            for frame in range(stack if streams[FRESH, row] else 0):  # of the episode's first observation
                _write(ring, row, row * stack + frame)
            slot = streams[SLOT, row]
            lost = ends[row] or (life_lost != 0 and losses[row])
            ring.action[slot], ring.reward[slot], ring.bootstrap[slot] = (
                actions[row],
                rewards[row],
                0.0 if lost else 1.0,
            )
            _write(ring, row, (num_envs + row + 1) * stack - 1)
            streams[LENGTH, row] += 1
            _close(ring, row, slot, lost or cuts[row] != 0)
            streams[FRESH, row] = ends[row] or cuts[row]
        counts[BEGINS] += streams[FRESH, row]


@njit(cache=True, nogil=True)
def _next(ring: Arrays, slot: int) -> int:
    return slot + ring.num_envs if slot + ring.num_envs < ring.slots else slot + ring.num_envs - ring.slots


@njit(cache=True, nogil=True)
def _change(ring: Arrays, slot: int, ready: bool) -> None:
    if ring.ready[slot] != ready:
        ring.ready[slot] = ready
        ring.changed[ring.counts[CHANGES]] = slot
        ring.counts[CHANGES] += 1
        ring.counts[COUNT] += 1 if ready else -1


@njit(cache=True, nogil=True)
def _write(ring: Arrays, row: int, source: int) -> None:
    """Give a frame the stream's next slot; stacks that lose a frame by it are no longer ready."""
    slot = _next(ring, ring.streams[SLOT, row])
    ring.streams[SLOT, row] = slot
    move = ring.counts[MOVES]
    ring.moves[move, 0], ring.moves[move, 1] = source, slot
    ring.counts[MOVES] += 1
    ring.counts[USED] = max(ring.counts[USED], slot + 1)
    ring.touched[slot // ring.block] = ring.counts[ADDS]
    for _ in range(ring.stack):
        _change(ring, slot, False)
        slot = _next(ring, slot)


@njit(cache=True, nogil=True)
def _close(ring: Arrays, row: int, slot: int, stops: bool) -> None:
    """Mark the transitions whose windows are complete now that the step in `slot` is stored."""
    ring.stop[slot] = stops
    for back in range(0 if stops else ring.n - 1, min(ring.n, ring.streams[LENGTH, row])):
        _change(ring, (slot - back * ring.num_envs) % ring.slots, True)
    if stops:
        ring.streams[LENGTH, row] = 0


@njit(cache=True, nogil=True)
def copy(struct: np.ndarray, frames: np.ndarray, before: int, after: int) -> None:
    """Copy frames (bytes [S, size]) as listed by `store`, from dense observations at two addresses."""
    ring = _arrays(struct)
    size, rows = frames.shape[1], ring.num_envs * ring.stack
    old, new = carray(pointer(before), (rows, size), np.uint8), carray(pointer(after), (rows, size), np.uint8)
    for move in range(ring.counts[MOVES]):
        source, slot = ring.moves[move]
        if source < rows:
            for byte in range(size):
                frames[slot, byte] = old[source, byte]
        else:
            for byte in range(size):
                frames[slot, byte] = new[source - rows, byte]


@njit(cache=True, nogil=True)
def differ(struct: np.ndarray, frames: np.ndarray, obs: int) -> None:
    """Mark streams within an episode as cut if their newest stack is not the row of `obs`, at an address."""
    ring = _arrays(struct)
    stack, size = ring.stack, frames.shape[1]
    rows = carray(pointer(obs), (ring.num_envs, stack, size), np.uint8)
    for row in range(ring.num_envs):
        for frame in range(0 if ring.streams[FRESH, row] else stack):
            slot = (ring.streams[SLOT, row] + (frame + 1 - stack) * ring.num_envs) % ring.slots
            for byte in range(size):
                if frames[slot, byte] != rows[row, frame, byte]:
                    ring.streams[CUT, row] = 1


@njit(cache=True, nogil=True)
def windows(
    struct: np.ndarray,
    index: np.ndarray,
    action: np.ndarray,
    total: np.ndarray,
    discount: np.ndarray,
    successor: np.ndarray,
) -> None:
    """The transitions (`NStep`) of the slots `index`, int64 [B], into arrays as in `Windows`."""
    ring = _arrays(struct)
    for row in range(len(index)):
        last = index[row]
        group = last % ring.num_envs * ring.groups // ring.num_envs if ring.groups > 1 else 0
        action[row], gained, power = ring.action[last], ring.reward[last], 1
        while power < ring.counts[REACH] and not ring.stop[last]:
            last = _next(ring, last)
            gained += ring.powers[group, power] * ring.reward[last]
            power += 1
        total[row], discount[row] = gained, ring.powers[group, power] * ring.bootstrap[last]
        successor[row] = _next(ring, last)


@njit(cache=True, nogil=True)
def gather(
    struct: np.ndarray,
    frames: np.ndarray,  # bytes [S, size]
    index: np.ndarray,
    successor: np.ndarray,
    obs: np.ndarray,  # bytes [B, frames, size], out
    next_obs: np.ndarray,  # bytes [B, frames or 0, size], out
) -> None:
    """Gather a batch's frames: of each sample from `stack - 1` before its slot on, and before its successor on.

    Obs and next_obs of a sample one after the other, so that shared frames are read from memory once.
    """
    slots, stride, size, first = struct[0].slots, struct[0].num_envs, frames.shape[1], 1 - struct[0].stack
    for row in range(len(index)):
        for frame in range(obs.shape[1]):
            slot = (index[row] + (first + frame) * stride) % slots
            for byte in range(size):
                obs[row, frame, byte] = frames[slot, byte]
        for frame in range(next_obs.shape[1]):
            slot = (successor[row] + (first + frame) * stride) % slots
            for byte in range(size):
                next_obs[row, frame, byte] = frames[slot, byte]
