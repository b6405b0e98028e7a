"""Proportional priorities: a tree of sums over the slots in one flat array, compiled by Numba.

Eight children of a node are adjacent, a cache line of float64, so a million slots are seven levels: node x has the
children 8 (x - 6) to 8 (x - 6) + 7, the root is node 7, and the leaves are the last `slots` nodes. A node is always the
sum of its children, taken in the same order, never a running total: the tree is a function of its leaves only.
"""

from __future__ import annotations

import numpy as np
from numba import njit

ROOT = 7


class SumTree:
    """A mass, priority**alpha, for each slot; 0 if it may not be drawn (Schaul et al. 2016, section 3.3)."""

    slot_bytes = 10  # 8 for a leaf, 8 / 7 for the nodes above it

    def __init__(self, slots: int, alpha: float) -> None:
        self.alpha = alpha
        parents = max(-(-(slots - 1) // 7), 1)
        self._tree = np.zeros(ROOT + 1 + 8 * parents)
        self._leaf = ROOT + parents  # of slot 0
        self.masses = self._tree[self._leaf : self._leaf + slots]

    def change(self, slots: np.ndarray, ready: np.ndarray, priority: float) -> None:
        """Give the slots (int64 [K]) this priority if they are `ready` (bool [slots]), else none."""
        _change(self._tree, self._leaf, slots, ready, priority**self.alpha)

    def draw(self, uniform: np.ndarray, beta: float, index: np.ndarray, weight: np.ndarray) -> None:
        """Draw a slot from each of B equal parts of the mass, `uniform` (float64 [B]) of the way through the part."""
        _draw(self._tree, self._leaf, uniform, beta, index, weight)

    def update(self, index: np.ndarray, priority: np.ndarray) -> float:
        """Set the priorities of slots that may be drawn, of equal ones the last; returns the largest."""
        return float(_update(self._tree, self._leaf, self.alpha, index, priority))

    def load(self, masses: np.ndarray) -> None:
        """Load the masses of all slots."""
        self.masses[:] = masses
        _rebuild(self._tree, self._leaf)


@njit(cache=True, nogil=True)
def _sum(tree: np.ndarray, first: int) -> float:
    left = (tree[first] + tree[first + 1]) + (tree[first + 2] + tree[first + 3])
    return left + ((tree[first + 4] + tree[first + 5]) + (tree[first + 6] + tree[first + 7]))  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _set(tree: np.ndarray, node: int, mass: float) -> None:
    tree[node] = mass
    while node > ROOT:
        node = (node >> 3) + 6
        tree[node] = _sum(tree, 8 * (node - 6))


@njit(cache=True, nogil=True)
def _rebuild(tree: np.ndarray, leaf: int) -> None:
    for node in range(leaf - 1, ROOT - 1, -1):
        tree[node] = _sum(tree, 8 * (node - 6))


@njit(cache=True, nogil=True)
def _change(tree: np.ndarray, leaf: int, slots: np.ndarray, ready: np.ndarray, mass: float) -> None:
    for slot in slots:
        _set(tree, leaf + slot, mass if ready[slot] else 0.0)


@njit(cache=True, nogil=True)
def _draw(tree: np.ndarray, leaf: int, uniform: np.ndarray, beta: float, index: np.ndarray, weight: np.ndarray) -> None:
    part = tree[ROOT] / len(uniform)
    least = np.inf
    for row in range(len(uniform)):
        rest, node = (row + uniform[row]) * part, ROOT
        while node < leaf:
            child = 8 * (node - 6)
            for candidate in range(child, child + 8):
                # Rounding may leave a remainder after all children: the last one with a mass takes it.
                if tree[candidate] > 0.0:
                    node = candidate
                    if rest < tree[candidate]:
                        break
                    rest -= tree[candidate]
        index[row] = node - leaf
        least = min(least, tree[node])
    for row in range(len(uniform)):
        weight[row] = (least / tree[leaf + index[row]]) ** beta  # (N P)**-beta over the largest: N and the sum cancel


@njit(cache=True, nogil=True)
def _update(tree: np.ndarray, leaf: int, alpha: float, index: np.ndarray, priority: np.ndarray) -> float:
    largest = 0.0
    for row in range(len(index)):
        node = leaf + index[row]
        # Slots overwritten since sampling stay out; a loss that is not finite stops the run elsewhere.
        if tree[node] > 0.0 and priority[row] < np.inf:
            largest = max(largest, priority[row])
            _set(tree, node, priority[row] ** alpha)
    return largest
