"""The loops of `ring.py` over rows, frames and samples, compiled by Numba.

Tensors that come in come as addresses, because to hand over an array costs more than to store a row: the ring has seen
that they are dense, on the CPU, and of the right type and size. Frames are bytes here, whatever they hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

SLOT, FRESH, LENGTH = range(3)
"""Rows of `streams`: slot written last; whether an episode begins that is not stored yet; transitions since a stop."""
COUNT, USED, MOVES, CHANGES, BEGINS = range(5)
"""Of `counts`: slots that are ready, slots ever written; of one `store`: frames to copy, slots whose being ready
changed; and streams in which an episode begins next."""


def _as_pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


pointer: Any = intrinsic(_as_pointer)


@njit(cache=True, nogil=True)
def store(
    streams: np.ndarray,  # int64 [3, N]
    counts: np.ndarray,  # int64 [5]
    action: np.ndarray,
    reward: np.ndarray,
    bootstrap: np.ndarray,
    stop: np.ndarray,
    ready: np.ndarray,
    touched: np.ndarray,
    cut: np.ndarray,  # bool [N], streams that were reset from outside
    moves: np.ndarray,  # int64 [N * (stack + 1), 2], out: from which frame of obs, then of next_obs, to which slot
    changed: np.ndarray,  # int64 [N * (3 * stack + 2 * n)], out
    stack: int,
    n: int,
    block: int,
    adds: int,
    actions: int,
    rewards: int,
    terminated: int,
    truncated: int,
    life_lost: int,
    active: int,
) -> None:
    """Store all of a step but its frames; the last six are addresses of tensors [N], 0 where there is none."""
    slots, num_envs = len(ready), streams.shape[1]
    chosen, gained = carray(pointer(actions), num_envs, np.int64), carray(pointer(rewards), num_envs, np.float32)
    ends, cuts = carray(pointer(terminated), num_envs, np.uint8), carray(pointer(truncated), num_envs, np.uint8)
    losses, runs = carray(pointer(life_lost), num_envs, np.uint8), carray(pointer(active), num_envs, np.uint8)
    counts[MOVES] = counts[CHANGES] = counts[BEGINS] = 0
    for row in range(num_envs):
        if cut[row]:
            cut[row] = False
            streams[FRESH, row] = 1
            if streams[LENGTH, row]:
                _close(row, (streams[SLOT, row] - num_envs) % slots, True, streams, counts, stop, ready, changed, n)
        if active == 0 or runs[row]:
            first = stack if streams[FRESH, row] else 0  # frames of the episode's first observation
            for frame in range(first + 1):
                slot = streams[SLOT, row]
                if frame == first:
                    lost = ends[row] or (life_lost != 0 and losses[row])
                    action[slot], reward[slot], bootstrap[slot] = chosen[row], gained[row], 0.0 if lost else 1.0
                    _write(row, slot, (num_envs + row + 1) * stack - 1, streams, counts, ready, moves, changed, stack)
                    streams[LENGTH, row] += 1
                    _close(row, slot, lost or cuts[row] != 0, streams, counts, stop, ready, changed, n)
                else:
                    _write(row, slot, row * stack + frame, streams, counts, ready, moves, changed, stack)
                touched[streams[SLOT, row] // block] = adds
            streams[FRESH, row] = ends[row] or cuts[row]
        counts[BEGINS] += streams[FRESH, row]


@njit(cache=True, nogil=True)
def _write(
    row: int,
    slot: int,
    source: int,
    streams: np.ndarray,
    counts: np.ndarray,
    ready: np.ndarray,
    moves: np.ndarray,
    changed: np.ndarray,
    stack: int,
) -> None:
    """Give a frame the slot after `slot`; the stacks that lose a frame by it are ready no longer."""
    slots, num_envs = len(ready), streams.shape[1]
    slot = slot + num_envs if slot + num_envs < slots else slot + num_envs - slots
    streams[SLOT, row] = slot
    move = counts[MOVES]
    moves[move, 0], moves[move, 1] = source, slot
    counts[MOVES] += 1
    counts[USED] = max(counts[USED], slot + 1)
    for _ in range(stack):
        if ready[slot]:
            ready[slot] = False
            changed[counts[CHANGES]] = slot
            counts[CHANGES] += 1
            counts[COUNT] -= 1
        slot = slot + num_envs if slot + num_envs < slots else slot + num_envs - slots


@njit(cache=True, nogil=True)
def _close(
    row: int,
    slot: int,
    stops: bool,
    streams: np.ndarray,
    counts: np.ndarray,
    stop: np.ndarray,
    ready: np.ndarray,
    changed: np.ndarray,
    n: int,
) -> None:
    """Mark the transitions whose windows are complete now that the step in `slot` is stored."""
    slots, num_envs = len(ready), streams.shape[1]
    stop[slot] = stops
    for back in range(0 if stops else n - 1, min(n, streams[LENGTH, row])):
        complete = (slot - back * num_envs) % slots
        if not ready[complete]:
            ready[complete] = True
            changed[counts[CHANGES]] = complete
            counts[CHANGES] += 1
            counts[COUNT] += 1
    if stops:
        streams[LENGTH, row] = 0


@njit(cache=True, nogil=True)
def copy(frames: np.ndarray, moves: np.ndarray, counts: np.ndarray, before: int, after: int, rows: int) -> None:
    """Copy frames (bytes [slots, size]) as `store` said, from dense tensors of `rows` frames at two addresses."""
    size = frames.shape[1]
    old, new = carray(pointer(before), (rows, size), np.uint8), carray(pointer(after), (rows, size), np.uint8)
    for move in range(counts[MOVES]):
        source, slot = moves[move]
        if source < rows:
            for byte in range(size):
                frames[slot, byte] = old[source, byte]
        else:
            for byte in range(size):
                frames[slot, byte] = new[source - rows, byte]


@njit(cache=True, nogil=True)
def differ(frames: np.ndarray, streams: np.ndarray, cut: np.ndarray, stack: int, obs: int) -> None:
    """Mark in `cut` the streams in the midst of an episode whose newest stack is not the row of the tensor `obs`."""
    slots, size = frames.shape
    num_envs = streams.shape[1]
    rows = carray(pointer(obs), (num_envs, stack, size), np.uint8)
    for row in range(num_envs):
        for frame in range(0 if streams[FRESH, row] else stack):
            slot = (streams[SLOT, row] + (frame + 1 - stack) * num_envs) % slots
            for byte in range(size):
                if frames[slot, byte] != rows[row, frame, byte]:
                    cut[row] = True


@njit(cache=True, nogil=True)
def windows(
    index: np.ndarray,  # int64 [B]
    action: np.ndarray,
    reward: np.ndarray,
    bootstrap: np.ndarray,
    stop: np.ndarray,
    powers: np.ndarray,  # float32 [n + 1], gamma**0 …
    stride: int,
    chosen: np.ndarray,  # int64 [B], out
    total: np.ndarray,  # float32 [B], out
    discount: np.ndarray,  # float32 [B], out
    successor: np.ndarray,  # int64 [B], out: slots
) -> None:
    """`NStep.build` for one sample after another, and the actions."""
    slots = len(action)
    for row in range(len(index)):
        last = index[row]
        chosen[row], gained, power = action[last], reward[last], 1
        while power < len(powers) - 1 and not stop[last]:
            last = last + stride if last + stride < slots else last + stride - slots
            gained += powers[power] * reward[last]
            power += 1
        total[row], discount[row] = gained, powers[power] * bootstrap[last]
        successor[row] = last + stride if last + stride < slots else last + stride - slots


@njit(cache=True, nogil=True)
def gather(
    frames: np.ndarray,  # bytes [slots, size]
    index: np.ndarray,
    successor: np.ndarray,
    first: int,
    stride: int,
    obs: np.ndarray,  # bytes [B, frames, size], out
    next_obs: np.ndarray,  # bytes [B, frames or 0, size], out
) -> None:
    """Gather a batch's frames, those of each sample from its slot's (and its successor's) `first`-th neighbour on.

    Obs and next_obs of a sample one after the other, so that what they share is read from memory once.
    """
    slots, size = frames.shape
    for row in range(len(index)):
        for frame in range(obs.shape[1]):
            slot = (index[row] + (first + frame) * stride) % slots
            for byte in range(size):
                obs[row, frame, byte] = frames[slot, byte]
        for frame in range(next_obs.shape[1]):
            slot = (successor[row] + (first + frame) * stride) % slots
            for byte in range(size):
                next_obs[row, frame, byte] = frames[slot, byte]
