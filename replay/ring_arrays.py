"""The arrays of a ring on the CPU: what `ring_kernels.py` and `one_stream.py` read and write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

SLOT, FRESH, LENGTH, CUT = range(4)
"""Rows of `streams`: the slot written last; whether an episode begins that is not stored yet; transitions since a stop;
whether the stream was reset from outside."""
COUNT, USED, ADDS, MOVES, CHANGES, BEGINS, REACH = range(7)
"""Of `counts`: slots that are ready, slots ever written, calls of `store`; of the last one: frames to copy, slots whose
being ready changed; streams in which an episode begins next; and how many of the n rewards a window sums."""


class Arrays(NamedTuple):
    """A ring of S slots in N streams without its frames."""

    action: np.ndarray  # int64 [S]
    reward: np.ndarray  # float32 [S]
    bootstrap: np.ndarray  # float32 [S], 1 - terminated
    stop: np.ndarray  # bool [S], a window ends with this step
    ready: np.ndarray  # bool [S]
    touched: np.ndarray  # int64 [blocks], of each block of slots the last `store` into it
    powers: np.ndarray  # float32 [G, n + 1], gamma**0 … of G equal groups of successive streams
    streams: np.ndarray  # int64 [4, N]
    counts: np.ndarray  # int64 [7]
    moves: np.ndarray  # int64 [N * (stack + 1), 2], from which frame of obs, then of next_obs, to which slot
    changed: np.ndarray  # int64 [N * (3 * stack + 2 * n)], slots
    slots: int
    num_envs: int
    stack: int
    n: int
    block: int
    groups: int


class Windows(NamedTuple):
    """Transitions of B slots."""

    action: np.ndarray  # int64 [B]
    reward: np.ndarray  # float32 [B], summed over the window
    discount: np.ndarray  # float32 [B]
    successor: np.ndarray  # int64 [B], the slots of the observations after the windows


def allocate(slots: int, num_envs: int, *, stack: int, n: int, gammas: Sequence[float], block: int) -> Arrays:
    """The arrays of an empty ring; of several discounts each is that of an equal share of the streams, in order."""
    arrays = Arrays(
        action=np.zeros(slots, np.int64),
        reward=np.zeros(slots, np.float32),
        bootstrap=np.zeros(slots, np.float32),
        stop=np.zeros(slots, np.bool_),
        ready=np.zeros(slots, np.bool_),
        touched=np.zeros(-(-slots // block), np.int64),
        powers=np.array([[gamma**power for power in range(n + 1)] for gamma in gammas], np.float32),
        streams=np.zeros((4, num_envs), np.int64),
        counts=np.zeros(7, np.int64),
        moves=np.zeros((num_envs * (stack + 1), 2), np.int64),
        changed=np.zeros(num_envs * (3 * stack + 2 * n), np.int64),
        slots=slots,
        num_envs=num_envs,
        stack=stack,
        n=n,
        block=block,
        groups=len(gammas),
    )
    arrays.streams[SLOT], arrays.streams[FRESH] = range(slots - num_envs, slots), 1
    arrays.counts[REACH] = n
    return arrays


class Loops(Protocol):
    """The loops of a ring over streams, frames and samples; the ring has checked observations."""

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
        """Store all of a step except its frames, from tensors [N] as in `Ring.add`."""
        ...

    def copy(self, frames: np.ndarray, before: Tensor, after: Tensor) -> None:
        """Copy frames (bytes [S, size]) as listed by `store`, from dense observations."""
        ...

    def differ(self, frames: np.ndarray, obs: Tensor) -> None:
        """Mark streams within an episode as cut if their newest stack is not the row of dense observations."""
        ...

    def windows(self, index: np.ndarray, out: Windows) -> None:
        """The transitions (`NStep`) of the slots `index`, int64 [B]."""
        ...

    def gather(
        self, frames: np.ndarray, index: np.ndarray, successor: np.ndarray, obs: np.ndarray, next_obs: np.ndarray
    ) -> None:
        """Gather a batch's frames: of each sample from `stack - 1` before its slot on, and before its successor on.

        `frames` are bytes [S, size], `obs` bytes [B, frames, size] and `next_obs` bytes [B, frames or 0, size].
        """
        ...


def windows_into(action: Tensor, reward: Tensor, discount: Tensor) -> Windows:
    """Windows in the memory of a batch's tensors."""
    chosen = action.view(-1).numpy()
    return Windows(chosen, reward.view(-1).numpy(), discount.view(-1).numpy(), np.zeros_like(chosen))
