"""Exact computations on a known transition table: backups, optimal values, and the value of a policy.

Pure functions of arrays. Values beyond a terminal state are 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gymnast.envs.step import TransitionTable

MAX_SWEEPS = 1_000_000
LOOP_UP_TO = 10_000
"""Horizon from which a matrix power replaces single steps."""


def backup(table: TransitionTable, values: np.ndarray, gamma: float) -> np.ndarray:
    """Q of values: sum over outcomes of p * (r + gamma * v(s')), float64 [S, A] (Sutton & Barto 2018, eq. 4.10)."""
    later = np.where(table.terminated, 0.0, values[table.next_state])  # [S, A, K]
    return np.asarray((table.probability * (table.reward + gamma * later)).sum(-1))


def optimal_q(
    table: TransitionTable, gamma: float, *, horizon: int | None = None, tolerance: float = 1e-10
) -> np.ndarray:
    """Q*, float64 [S, A]; with a horizon that of its first step. ValueError if the values do not converge."""
    if horizon is not None:
        return np.asarray(optimal_stages(table, gamma, horizon=horizon)[0])
    q = np.zeros(table.probability.shape[:2])
    for _ in range(MAX_SWEEPS):
        new = backup(table, q.max(1), gamma)
        delta = float(np.abs(new - q).max())
        q = new
        if delta <= tolerance:
            return q
    raise ValueError(f"values do not converge within {MAX_SWEEPS} sweeps at gamma {gamma:g}; use a gamma below 1")


def optimal_stages(table: TransitionTable, gamma: float, *, horizon: int) -> np.ndarray:
    """Q* of each step of a finite horizon, float64 [horizon, S, A], the first step first (backward induction)."""
    stages = np.zeros((horizon, *table.probability.shape[:2]))
    values = np.zeros(table.probability.shape[0])
    for step in reversed(range(horizon)):
        stages[step] = backup(table, values, gamma)
        values = stages[step].max(1)
    return stages


def greedy_policy(q: np.ndarray, *, tolerance: float = 1e-9) -> np.ndarray:
    """The first best action of each state as probabilities, same shape as `q` [..., A]."""
    best = (q >= q.max(-1, keepdims=True) - tolerance).argmax(-1)
    return np.asarray(np.eye(q.shape[-1])[best])


def policy_model(table: TransitionTable, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected reward [S] and transition probabilities [S, S], under a policy [S, A]."""
    size = table.probability.shape[0]
    weight = policy[:, :, None] * table.probability  # [S, A, K]
    onward = np.zeros((size, size))
    state = np.broadcast_to(np.arange(size)[:, None, None], weight.shape)
    np.add.at(onward, (state, table.next_state), np.where(table.terminated, 0.0, weight))
    return (weight * table.reward).sum((1, 2)), onward


def evaluate_policy(
    table: TransitionTable, policy: np.ndarray, *, gamma: float, horizon: int | None = None
) -> np.ndarray:
    """Exact values of a policy, float64 [S]: by a linear solve, or step by step up to a horizon, which a time limit is.

    `policy` holds an action for each state, int [S], or probabilities [S, A]; with a horizon also one of either for
    each of its steps, with a leading axis. ValueError if a policy collects rewards forever at gamma 1.
    """
    policy = probabilities(policy, table.probability.shape[1])
    if horizon is None:
        reward, onward = policy_model(table, policy)
        return solve(onward, reward, gamma)
    values = np.zeros(table.probability.shape[0])
    reward, onward = policy_model(table, policy[-1] if policy.ndim == 3 else policy)
    if policy.ndim == 2 and horizon > LOOP_UP_TO:
        size = len(values)
        both = np.block([[gamma * onward, reward[:, None]], [np.zeros((1, size)), np.ones((1, 1))]])
        return np.asarray(np.linalg.matrix_power(both, horizon)[:size, size])
    for step in reversed(range(horizon)):
        if policy.ndim == 3:
            reward, onward = policy_model(table, policy[step])
        values = reward + gamma * onward @ values
    return values


def success_probability(table: TransitionTable, policy: np.ndarray, *, horizon: int | None = None) -> float:
    """The probability of ending in a terminal state with a reward above 0, within the horizon if there is one."""
    win = (table.terminated & (table.reward > 0.0)).astype(np.float64)
    counting = replace(table, reward=win)
    return float(table.initial @ evaluate_policy(counting, policy, gamma=1.0, horizon=horizon))


def probabilities(policy: np.ndarray, actions: int) -> np.ndarray:
    """A policy given by its actions as probabilities."""
    return np.eye(actions)[policy] if np.issubdtype(policy.dtype, np.integer) else policy


def solve(onward: np.ndarray, reward: np.ndarray, gamma: float) -> np.ndarray:
    """v = r + gamma * P v, float64 [S]; at gamma 1 states that never end are worth 0 if they pay nothing."""
    identity = np.eye(len(reward))
    if gamma < 1.0:
        return np.asarray(np.linalg.solve(identity - gamma * onward, reward))
    ends = onward.sum(1) < 1.0 - 1e-12
    while True:
        more = ends | (onward[:, ends] > 0.0).any(1)
        if (more == ends).all():
            break
        ends = more
    if (reward[~ends] != 0.0).any():
        raise ValueError("the policy collects rewards forever, so its value at gamma 1 is undefined; set a horizon")
    values = np.zeros(len(reward))
    values[ends] = np.linalg.solve((identity - onward)[np.ix_(ends, ends)], reward[ends])
    return values
