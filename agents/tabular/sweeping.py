"""Prioritized sweeping: a queue of the pairs whose value would change most, and who leads to a row.

Pure functions of arrays, as those of `updates.py` and `model.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gymnast.agents.tabular.model import Model, best_allowed, expected, remember

NONE = -1


class Queue(NamedTuple):
    """A heap of pairs, largest priority first, and for each row the outcomes that lead to it as a linked list.

    An outcome is pair * M + its place in the model.
    """

    heap: np.ndarray  # int64 [pairs]
    place: np.ndarray  # int64 [pairs], where in the heap a pair is, -1 if it is not
    priority: np.ndarray  # float64 [pairs]
    size: np.ndarray  # int64 [1]
    first: np.ndarray  # int64 [rows], an outcome or -1
    after: np.ndarray  # int64 [outcomes], the next one of the same row or -1
    before: np.ndarray  # int64 [outcomes], the one before it or -1
    linked: np.ndarray  # bool [outcomes]


def make_queue(rows: int, pairs: int, outcomes: int) -> Queue:
    """An empty queue, and no predecessors."""
    return Queue(
        heap=np.zeros(pairs, np.int64),
        place=np.full(pairs, NONE, np.int64),
        priority=np.zeros(pairs),
        size=np.zeros(1, np.int64),
        first=np.full(rows, NONE, np.int64),
        after=np.full(pairs * outcomes, NONE, np.int64),
        before=np.full(pairs * outcomes, NONE, np.int64),
        linked=np.zeros(pairs * outcomes, np.bool_),
    )


def push(queue: Queue, pair: int, priority: float) -> None:
    """Put a pair into the queue, or raise its priority; a smaller one than it has changes nothing."""
    if queue.place[pair] == NONE:
        queue.place[pair] = queue.size[0]
        queue.heap[queue.size[0]] = pair
        queue.size[0] += 1
    elif priority <= queue.priority[pair]:
        return
    queue.priority[pair] = priority
    rise(queue, queue.place[pair])


def pop(queue: Queue) -> int:
    """Take the pair with the largest priority out of a queue that is not empty."""
    pair = queue.heap[0]
    queue.size[0] -= 1
    queue.place[pair] = NONE
    if queue.size[0] > 0:
        last = queue.heap[queue.size[0]]
        queue.heap[0] = last
        queue.place[last] = 0
        sink(queue, 0)
    return pair  # type: ignore[no-any-return]


def rise(queue: Queue, place: int) -> None:
    """Move a pair up the heap to where it belongs."""
    pair = queue.heap[place]
    while place > 0:
        above = (place - 1) // 2
        other = queue.heap[above]
        if queue.priority[other] >= queue.priority[pair]:
            break
        queue.heap[place] = other
        queue.place[other] = place
        place = above
    queue.heap[place] = pair
    queue.place[pair] = place


def sink(queue: Queue, place: int) -> None:
    """Move a pair down the heap to where it belongs."""
    pair, size = queue.heap[place], queue.size[0]
    while 2 * place + 1 < size:
        below = 2 * place + 1
        if below + 1 < size and queue.priority[queue.heap[below + 1]] > queue.priority[queue.heap[below]]:
            below += 1
        other = queue.heap[below]
        if queue.priority[other] <= queue.priority[pair]:
            break
        queue.heap[place] = other
        queue.place[other] = place
        place = below
    queue.heap[place] = pair
    queue.place[pair] = place


def link(queue: Queue, outcome: int, row: int) -> None:
    """Add an outcome, which is in no list, to those that lead to a row."""
    head = queue.first[row]
    queue.after[outcome], queue.before[outcome] = head, NONE
    if head != NONE:
        queue.before[head] = outcome
    queue.first[row] = outcome
    queue.linked[outcome] = True


def unlink(queue: Queue, outcome: int, row: int) -> None:
    """Take an outcome out of the list of those that lead to a row, if it is in one."""
    if not queue.linked[outcome]:
        return
    after, before = queue.after[outcome], queue.before[outcome]
    if after != NONE:
        queue.before[after] = before
    if before == NONE:
        queue.first[row] = after
    else:
        queue.after[before] = after
    queue.linked[outcome] = False


def consider(
    q: np.ndarray, model: Model, queue: Queue, pair: int, mask: np.ndarray, masked: bool, threshold: float
) -> None:
    """Put a pair into the queue if its value would change by more than a threshold."""
    actions = q.shape[1]
    change = abs(expected(q, model, pair, mask, masked) - q[pair // actions, pair % actions])
    if change > threshold:
        push(queue, pair, change)


def take_in(
    q: np.ndarray,
    model: Model,
    queue: Queue,
    pair: int,
    reward: float,
    discount: float,
    successor: int,
    mask: np.ndarray,
    masked: bool,
    threshold: float,
) -> None:
    """Take a transition into the model and the lists of predecessors, and consider its pair."""
    outcomes = model.successor.shape[1]
    place = model.tried[pair] % outcomes
    outcome = pair * outcomes + place
    unlink(queue, outcome, model.successor[pair, place])
    remember(model, pair, reward, discount, successor)
    if discount > 0.0:  # a value beyond the end of an episode never changes
        link(queue, outcome, successor)
    consider(q, model, queue, pair, mask, masked, threshold)


def sweep_step(
    q: np.ndarray, model: Model, queue: Queue, mask: np.ndarray, masked: bool, alpha: float, threshold: float
) -> float:
    """Back up the first pair of a queue that is not empty, and consider those that lead to its row; returns |error|."""
    actions, outcomes = q.shape[1], model.successor.shape[1]
    pair = pop(queue)
    row, action = pair // actions, pair % actions
    top = best_allowed(q, row, mask, masked)
    error = expected(q, model, pair, mask, masked) - q[row, action]
    q[row, action] += alpha * error
    if alpha < 1.0:
        consider(q, model, queue, pair, mask, masked, threshold)
    if best_allowed(q, row, mask, masked) != top:  # else nothing that leads here has changed
        outcome = queue.first[row]
        while outcome != NONE:
            consider(q, model, queue, outcome // outcomes, mask, masked, threshold)
            outcome = queue.after[outcome]
    return abs(error)  # type: ignore[no-any-return]
