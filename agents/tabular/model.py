"""A learned model of a table's transitions, and planning with it: pure functions of arrays.

As in `updates.py`, they use only scalars and indexing, and Numba compiles the same functions for the compiled loop. A
row of the table is a state (with a finite horizon a state at a time); a pair is row * A + action.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Model(NamedTuple):
    """The latest M outcomes of every pair that was tried, and which rows and actions these are."""

    successor: np.ndarray  # int64 [pairs, M], the table's rows
    reward: np.ndarray  # float64 [pairs, M]
    discount: np.ndarray  # float64 [pairs, M], 0 at the end of an episode
    tried: np.ndarray  # int64 [pairs], outcomes so far
    last: np.ndarray  # int64 [pairs], time of the latest one
    listed: np.ndarray  # bool [pairs], whether planning considers the pair
    actions: np.ndarray  # int64 [rows, A], the listed actions of a row, first come first
    sizes: np.ndarray  # int64 [rows], how many they are
    rows: np.ndarray  # int64 [rows], those with a listed action, first come first
    now: np.ndarray  # int64 [2], how many those are, and the time: transitions so far


def make_model(rows: int, actions: int, outcomes: int) -> Model:
    """A model of nothing."""
    pairs = rows * actions
    return Model(
        successor=np.zeros((pairs, outcomes), np.int64),
        reward=np.zeros((pairs, outcomes)),
        discount=np.zeros((pairs, outcomes)),
        tried=np.zeros(pairs, np.int64),
        last=np.zeros(pairs, np.int64),
        listed=np.zeros(pairs, np.bool_),
        actions=np.zeros((rows, actions), np.int64),
        sizes=np.zeros(rows, np.int64),
        rows=np.zeros(rows, np.int64),
        now=np.zeros(2, np.int64),
    )


def remember(model: Model, pair: int, reward: float, discount: float, successor: int) -> None:
    """Take a transition into the model, in place of the pair's oldest outcome."""
    outcomes = model.successor.shape[1]
    place = model.tried[pair] % outcomes
    model.successor[pair, place] = successor
    model.reward[pair, place] = reward
    model.discount[pair, place] = discount
    model.tried[pair] += 1
    model.now[1] += 1
    model.last[pair] = model.now[1]
    list_pair(model, pair)


def list_pair(model: Model, pair: int) -> None:
    """Let planning consider a pair."""
    if model.listed[pair]:
        return
    actions = model.actions.shape[1]
    row = pair // actions
    if model.sizes[row] == 0:
        model.rows[model.now[0]] = row
        model.now[0] += 1
    model.actions[row, model.sizes[row]] = pair % actions
    model.sizes[row] += 1
    model.listed[pair] = True


def list_row(model: Model, row: int, mask: np.ndarray, masked: bool) -> None:
    """Let planning consider every allowed action of a row, tried or not; `mask` is bool [S, A]."""
    states, actions = mask.shape
    for action in range(actions):
        if not masked or mask[row % states, action]:
            list_pair(model, row * actions + action)


def best_allowed(q: np.ndarray, row: int, mask: np.ndarray, masked: bool) -> float:
    """The largest Q-value of the allowed actions in a row."""
    state, top = row % len(mask), -math.inf
    for action in range(q.shape[1]):
        if (not masked or mask[state, action]) and q[row, action] > top:
            top = q[row, action]
    return top


def plan_step(
    q: np.ndarray,
    model: Model,
    mask: np.ndarray,
    masked: bool,
    alpha: float,
    gamma: float,
    bonus: float,
    u: float,
    v: float,
    w: float,
) -> float:
    """One update of Q-learning from the model; returns |error|.

    `u` chooses among the visited rows, `v` among the row's listed actions, `w` among the pair's outcomes; all are
    uniform in [0, 1). The reward of a pair that was not tried for t transitions is larger by `bonus` * sqrt(t); one
    that never was is taken to lead back to its row, without a reward (Sutton & Barto 2018, section 8.3).
    """
    row = model.rows[int(u * model.now[0])]
    action = model.actions[row, int(v * model.sizes[row])]
    pair = row * q.shape[1] + action
    known = min(model.tried[pair], model.successor.shape[1])
    successor, reward, discount = row, 0.0, gamma
    if known > 0:
        place = int(w * known)
        successor, discount = model.successor[pair, place], model.discount[pair, place]
        reward = model.reward[pair, place]
    if bonus > 0.0:
        reward += bonus * math.sqrt(model.now[1] - model.last[pair])
    error = reward + discount * best_allowed(q, successor, mask, masked) - q[row, action]
    q[row, action] += alpha * error
    return abs(error)  # type: ignore[no-any-return]


def expected(q: np.ndarray, model: Model, pair: int, mask: np.ndarray, masked: bool) -> float:
    """The mean over a tried pair's outcomes of reward + discount * the best value of the successor."""
    known = min(model.tried[pair], model.successor.shape[1])
    total = 0.0
    for place in range(known):
        value = best_allowed(q, model.successor[pair, place], mask, masked)
        total += model.reward[pair, place] + model.discount[pair, place] * value
    return total / known  # type: ignore[no-any-return]
