"""Updates of a table, one transition at a time: pure functions of arrays.

They use only scalars and indexing: they run as plain Python, and Numba compiles the same functions for the
compiled loop. A pair is state * A + action. `discount` is gamma * (1 - terminated); `average` is the average reward in
an array of one number, 0 under the other objectives; the updates work in place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gymnast.agents.tabular.exploration import maximum

TRACE_FLOOR = 1e-12
"""Smaller eligibilities are dropped: they change no value by more than its last bits."""


class Traces(NamedTuple):
    """Eligibility of the pairs visited in the episodes of N rows; the arrays are empty if lambda is 0."""

    eligibility: np.ndarray  # float64 [N, pairs]
    visited: np.ndarray  # int64 [N, pairs], the pairs with an eligibility
    length: np.ndarray  # int64 [N], how many they are


class Window(NamedTuple):
    """Pending transitions of N rows, until their n-step return is known, oldest first."""

    pair: np.ndarray  # int64 [N, n]
    reward: np.ndarray  # float64 [N, n]
    discount: np.ndarray  # float64 [N, n]
    length: np.ndarray  # int64 [N]


class Rates(NamedTuple):
    """The numbers of an update."""

    alpha: float
    average: float  # step size of the average reward, as a factor of alpha; 0 under the other objectives
    decay: float  # lambda
    replacing: bool  # replacing instead of accumulating traces
    cut: bool  # forget all traces when an exploratory action is taken (Watkins)


def make_traces(rows: int, pairs: int) -> Traces:
    """Empty traces."""
    return Traces(np.zeros((rows, pairs)), np.zeros((rows, pairs), np.int64), np.zeros(rows, np.int64))


def make_window(rows: int, n_step: int) -> Window:
    """Empty windows."""
    return Window(
        np.zeros((rows, n_step), np.int64),
        np.zeros((rows, n_step)),
        np.zeros((rows, n_step)),
        np.zeros(rows, np.int64),
    )


def update_pair(
    q: np.ndarray,
    average: np.ndarray,
    traces: Traces,
    row: int,
    pair: int,
    reward: float,
    discount: float,
    next_value: float,
    ended: bool,
    rates: Rates,
) -> float:
    """Move Q of a pair, or of all pairs with an eligibility, by alpha * error; returns the error.

    The error is r - average + discount * next_value - Q (Sutton & Barto 2018, eq. 6.1 and, differential, 10.10); the
    average reward follows it (Wan, Naik & Sutton 2021, eq. 5).
    """
    state, action = pair // q.shape[1], pair % q.shape[1]
    error = reward - average[0] + discount * next_value - q[state, action]
    if rates.decay == 0.0:
        q[state, action] += rates.alpha * error
    else:
        update_visited(q, traces, row, pair, discount * rates.decay, rates.alpha * error, rates.replacing, rates.cut)
        if ended:
            clear_traces(traces, row)
    average[0] += rates.average * rates.alpha * error
    return error  # type: ignore[no-any-return]


def update_visited(
    q: np.ndarray,
    traces: Traces,
    row: int,
    pair: int,
    decay: float,
    change: float,
    replacing: bool,
    cut: bool,
) -> None:
    """Raise the pair's eligibility, move every visited pair, and let the eligibilities decay (chapter 12)."""
    actions = q.shape[1]
    if cut and q[pair // actions, pair % actions] < maximum(q[pair // actions]):
        clear_traces(traces, row)  # earlier pairs led to this action, not to the greedy one
    if traces.eligibility[row, pair] == 0.0:
        traces.visited[row, traces.length[row]] = pair
        traces.length[row] += 1
    traces.eligibility[row, pair] = 1.0 if replacing else traces.eligibility[row, pair] + 1.0
    kept = 0
    for index in range(traces.length[row]):
        visited = traces.visited[row, index]
        eligibility = traces.eligibility[row, visited]
        q[visited // actions, visited % actions] += change * eligibility
        eligibility *= decay
        if eligibility < TRACE_FLOOR:
            traces.eligibility[row, visited] = 0.0
        else:
            traces.eligibility[row, visited] = eligibility
            traces.visited[row, kept] = visited
            kept += 1
    traces.length[row] = kept


def clear_traces(traces: Traces, row: int) -> None:
    """Forget all eligibilities of a row."""
    for index in range(traces.length[row]):
        traces.eligibility[row, traces.visited[row, index]] = 0.0
    traces.length[row] = 0


def learn_window(
    q: np.ndarray,
    average: np.ndarray,
    traces: Traces,
    window: Window,
    row: int,
    pair: int,
    reward: float,
    discount: float,
    last_pair: int,
    ended: bool,
    rates: Rates,
) -> tuple[float, int]:
    """Take one transition into a row's n-step window; returns the sum of |error| and the number of updates.

    A full window bootstraps from `pair`, the next state and action. At an episode's end the rest is learned with
    ever shorter returns that bootstrap from `last_pair`, the final state and an action there; a terminal state's
    discount of 0 takes it out again (Sutton & Barto 2018, section 7.2).
    """
    actions = q.shape[1]
    errors, updates = 0.0, 0
    if window.length[row] == window.pair.shape[1]:
        errors += learn_oldest(q, average, traces, window, row, q[pair // actions, pair % actions], False, rates)
        updates += 1
    end = window.length[row]
    window.pair[row, end] = pair
    window.reward[row, end] = reward
    window.discount[row, end] = discount
    window.length[row] = end + 1
    while ended and window.length[row] > 0:
        last_value = q[last_pair // actions, last_pair % actions]
        errors += learn_oldest(q, average, traces, window, row, last_value, window.length[row] == 1, rates)
        updates += 1
    return errors, updates


def close_window(q: np.ndarray, average: np.ndarray, traces: Traces, window: Window, row: int, rates: Rates) -> None:
    """Learn a row's window when its episode was cut off: all bootstrap from the last pair, which is dropped.

    Its reward is known, but not its successor.
    """
    if window.length[row] == 0:
        return
    window.length[row] -= 1
    pair = window.pair[row, window.length[row]]
    while window.length[row] > 0:
        last_value = q[pair // q.shape[1], pair % q.shape[1]]
        learn_oldest(q, average, traces, window, row, last_value, window.length[row] == 1, rates)


def learn_oldest(
    q: np.ndarray,
    average: np.ndarray,
    traces: Traces,
    window: Window,
    row: int,
    next_value: float,
    ended: bool,
    rates: Rates,
) -> float:
    """Learn the oldest transition of a window from the return up to its end, and drop it; returns |error|."""
    length = window.length[row]
    for index in range(length - 1, 0, -1):
        next_value = window.reward[row, index] - average[0] + window.discount[row, index] * next_value
    error = update_pair(
        q,
        average,
        traces,
        row,
        window.pair[row, 0],
        window.reward[row, 0],
        window.discount[row, 0],
        next_value,
        ended,
        rates,
    )
    for index in range(1, length):
        window.pair[row, index - 1] = window.pair[row, index]
        window.reward[row, index - 1] = window.reward[row, index]
        window.discount[row, index - 1] = window.discount[row, index]
    window.length[row] = length - 1
    return abs(error)
