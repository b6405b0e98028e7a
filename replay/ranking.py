"""Rank-based priorities, exact: the slots in the order of their priorities, in sorted blocks, compiled by Numba.

Finding a place takes two binary searches, inserting or removing moves part of one block, and finding a rank reads the
blocks' sizes. Nothing is ever stale, and draws depend only on the priorities, not on the history of the blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

SIZE = 512
"""Slots of a full block."""


class Order(NamedTuple):
    """All slots that may be drawn, by falling priority; equal ones by slot."""

    priority: np.ndarray  # float64 [slots], 0 if a slot may not be drawn
    keys: np.ndarray  # float64 [blocks, SIZE], the priorities of the slots in each block
    members: np.ndarray  # int32 [blocks, SIZE]
    fill: np.ndarray  # int64 [blocks], slots in each block
    blocks: np.ndarray  # int64 [blocks], the blocks in order, then the free ones
    before: np.ndarray  # int64 [blocks + 1], slots before each block of the order, filled for a draw
    used: np.ndarray  # int64 [1], blocks in the order


class Ranking:
    """P(i) in proportion to 1 / rank(i)**alpha (Schaul et al. 2016, section 3.3), rank 1 for the largest priority.

    Slots of equal priority have equal probabilities, the mean over their ranks.
    """

    slot_bytes = 8 + 8 + 2 * (8 + 4)  # priority, running sum of 1 / rank**alpha, two places in blocks

    def __init__(self, slots: int, alpha: float) -> None:
        blocks = 2 * slots // SIZE + 4
        self._order = Order(
            priority=np.zeros(slots),
            keys=np.zeros((blocks, SIZE)),
            members=np.zeros((blocks, SIZE), np.int32),
            fill=np.zeros(blocks, np.int64),
            blocks=np.arange(blocks),
            before=np.zeros(blocks + 1, np.int64),
            used=np.zeros(1, np.int64),
        )
        self._running = np.zeros(slots + 1)
        np.cumsum(np.arange(1.0, slots + 1) ** -alpha, out=self._running[1:])
        self.masses = self._order.priority

    def change(self, slots: np.ndarray, ready: np.ndarray, priority: float) -> None:
        """Give the slots (int64 [K]) this priority if they are `ready` (bool [slots]), else none."""
        _change(self._order, slots, ready, priority)

    def draw(self, uniform: np.ndarray, beta: float, index: np.ndarray, weight: np.ndarray) -> None:
        """Draw a slot from each of B equal parts of the mass, `uniform` (float64 [B]) of the way through the part."""
        _draw(self._order, self._running, uniform, beta, index, weight)

    def update(self, index: np.ndarray, priority: np.ndarray) -> float:
        """Set the priorities of slots that may be drawn, of equal ones the last; returns the largest."""
        return float(_update(self._order, index, priority))

    def load(self, masses: np.ndarray) -> None:
        """Load the priorities of all slots."""
        self.masses[:] = masses
        _fill(self._order, np.argsort(-self.masses, kind="stable")[: np.count_nonzero(self.masses)])


@njit(cache=True, nogil=True)
def _fill(order: Order, slots: np.ndarray) -> None:
    """Distribute slots, given in order, over blocks that are each three quarters full."""
    size = 3 * SIZE // 4
    order.used[0] = (len(slots) + size - 1) // size
    for block in range(len(order.blocks)):
        order.blocks[block] = block
        order.fill[block] = min(max(len(slots) - block * size, 0), size)
        for place in range(order.fill[block]):
            slot = slots[block * size + place]
            order.keys[block, place], order.members[block, place] = order.priority[slot], slot


@njit(cache=True, nogil=True)
def _repack(order: Order) -> None:
    """Free blocks by filling up the others."""
    slots, count = np.empty(len(order.priority), np.int64), 0
    for at in range(order.used[0]):
        block = order.blocks[at]
        for place in range(order.fill[block]):
            slots[count] = order.members[block, place]
            count += 1
    _fill(order, slots[:count])


@njit(cache=True, nogil=True)
def _before(key: float, member: int, priority: float, slot: int) -> bool:
    """Whether (key, member) comes before (priority, slot)."""
    return key > priority or (key == priority and member < slot)


@njit(cache=True, nogil=True)
def _find(order: Order, priority: float, slot: int) -> tuple[int, int]:
    """The position of the first that does not come before (priority, slot): block of the order, place in the block."""
    keys, members, fill, blocks = order.keys, order.members, order.fill, order.blocks
    low, high = 0, order.used[0] - 1  # anything after all of them belongs behind the last
    while low < high:
        middle = (low + high) // 2
        block = blocks[middle]
        last = fill[block] - 1
        if _before(keys[block, last], members[block, last], priority, slot):
            low = middle + 1
        else:
            high = middle
    block = blocks[low]
    start, end = 0, fill[block]
    while start < end:
        middle = (start + end) // 2
        if _before(keys[block, middle], members[block, middle], priority, slot):
            start = middle + 1
        else:
            end = middle
    return low, start


@njit(cache=True, nogil=True)
def _insert(order: Order, priority: float, slot: int) -> None:
    keys, members, fill = order.keys, order.members, order.fill
    if order.used[0] == 0:
        order.used[0], fill[order.blocks[0]] = 1, 0
    at, place = _find(order, priority, slot)
    if fill[order.blocks[at]] == SIZE:
        _make_room(order, at)
        at, place = _find(order, priority, slot)
    block = order.blocks[at]
    for other in range(fill[block], place, -1):
        keys[block, other] = keys[block, other - 1]
        members[block, other] = members[block, other - 1]
    keys[block, place], members[block, place] = priority, slot
    fill[block] += 1


@njit(cache=True, nogil=True)
def _make_room(order: Order, at: int) -> None:
    """Move the later half of a full block into a free one behind it."""
    keys, members, fill, blocks = order.keys, order.members, order.fill, order.blocks
    if order.used[0] == len(blocks):
        _repack(order)
        return
    block, free, half = blocks[at], blocks[order.used[0]], SIZE // 2
    for other in range(order.used[0], at + 1, -1):
        blocks[other] = blocks[other - 1]
    blocks[at + 1] = free
    order.used[0] += 1
    for place in range(half):
        keys[free, place], members[free, place] = keys[block, half + place], members[block, half + place]
    fill[block] = fill[free] = half


@njit(cache=True, nogil=True)
def _remove(order: Order, priority: float, slot: int) -> None:
    keys, members, fill, blocks = order.keys, order.members, order.fill, order.blocks
    at, place = _find(order, priority, slot)
    block = blocks[at]
    fill[block] -= 1
    for other in range(place, fill[block]):
        keys[block, other] = keys[block, other + 1]
        members[block, other] = members[block, other + 1]
    if fill[block] == 0:
        order.used[0] -= 1
        for other in range(at, order.used[0]):
            blocks[other] = blocks[other + 1]
        blocks[order.used[0]] = block


@njit(cache=True, nogil=True)
def _set(order: Order, slot: int, priority: float) -> None:
    if order.priority[slot] > 0.0:
        _remove(order, order.priority[slot], slot)
    order.priority[slot] = priority
    if priority > 0.0:
        _insert(order, priority, slot)


@njit(cache=True, nogil=True)
def _change(order: Order, slots: np.ndarray, ready: np.ndarray, priority: float) -> None:
    for slot in slots:
        _set(order, slot, priority if ready[slot] else 0.0)


@njit(cache=True, nogil=True)
def _last(rising: np.ndarray, count: int, value: float) -> int:
    """The last of the first `count` numbers that is not above `value`."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high + 1) // 2
        if rising[middle] <= value:
            low = middle
        else:
            high = middle - 1
    return low


@njit(cache=True, nogil=True)
def _equals(order: Order, rank: int) -> tuple[int, int]:
    """The first rank, counted from 0, that has the same priority as this one, and how many have."""
    keys, fill, blocks, before = order.keys, order.fill, order.blocks, order.before
    at = _last(before, order.used[0], rank)
    block, place = blocks[at], rank - before[at]
    priority = keys[block, place]
    inside = 0 < place < fill[block] - 1
    if inside and keys[block, place - 1] > priority > keys[block, place + 1]:
        return rank, 1
    at, place = _find(order, priority, -1)
    first = before[at] + place
    at, place = _find(order, priority, len(order.priority))
    return first, before[at] + place - first


@njit(cache=True, nogil=True)
def _draw(
    order: Order, running: np.ndarray, uniform: np.ndarray, beta: float, index: np.ndarray, weight: np.ndarray
) -> None:
    members, fill, blocks, before = order.members, order.fill, order.blocks, order.before
    for at in range(order.used[0]):
        before[at + 1] = before[at] + fill[blocks[at]]
    count = before[order.used[0]]
    part, least = running[count] / len(uniform), np.inf
    for row in range(len(uniform)):
        mass = (row + uniform[row]) * part
        first, equal = _equals(order, _last(running, count, mass))
        share = (running[first + equal] - running[first]) / equal
        rank = first + min(int((mass - running[first]) / share), equal - 1)
        at = _last(before, order.used[0], rank)
        index[row], weight[row] = members[blocks[at], rank - before[at]], share
        least = min(least, share)
    for row in range(len(uniform)):
        weight[row] = (least / weight[row]) ** beta  # (N P)**-beta over the largest of the batch


@njit(cache=True, nogil=True)
def _update(order: Order, index: np.ndarray, priority: np.ndarray) -> float:
    largest = 0.0
    for row in range(len(index)):
        # Slots overwritten since sampling stay out; a loss that is not finite stops the run elsewhere.
        if order.priority[index[row]] > 0.0 and priority[row] < np.inf:
            largest = max(largest, priority[row])
            _set(order, index[row], priority[row])
    return largest
