"""The exact mathematics of a known transition table: backups, optimal values, and what a policy is worth.

Pure functions of arrays. Values beyond a terminal state are 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gymnast.envs.step import TransitionTable

MAX_SWEEPS = 1_000_000


@dataclass(frozen=True)
class Evaluation:
    """What a policy is worth, exactly."""

    values: np.ndarray
    """Value of each state under the discount, float64 [S]; at the first step where there is a horizon."""
    mean_return: float
    """Expected discounted return from the initial distribution."""
    success: float
    """Probability that the episode ends with a reward above 0 in a terminal state, in time where there is a horizon."""


def backup(table: TransitionTable, values: np.ndarray, gamma: float) -> np.ndarray:
    """Q of values: sum over outcomes of p * (r + gamma * v(s')), float64 [S, A] (Sutton & Barto 2018, eq. 4.10)."""
    later = np.where(table.terminated, 0.0, values[table.next_state])  # [S, A, K]
    return np.asarray((table.probability * (table.reward + gamma * later)).sum(-1))


def optimal_q(
    table: TransitionTable, gamma: float, *, horizon: int | None = None, tolerance: float = 1e-10
) -> np.ndarray:
    """Q*, float64 [S, A], or [horizon, S, A] with the first step first; ValueError where the values do not settle."""
    if horizon is not None:
        return np.stack(_stages(table, gamma, horizon))
    q = np.zeros(table.probability.shape[:2])
    for _ in range(MAX_SWEEPS):
        new = backup(table, q.max(1), gamma)
        delta = float(np.abs(new - q).max())
        q = new
        if delta <= tolerance:
            return q
    raise ValueError(f"values do not settle within {MAX_SWEEPS} sweeps at gamma {gamma:g}; take a gamma below 1")


def _stages(table: TransitionTable, gamma: float, horizon: int) -> list[np.ndarray]:
    """Q* of each step of a finite horizon, first step first (backward induction)."""
    values, stages = np.zeros(table.probability.shape[0]), []
    for _ in range(horizon):
        q = backup(table, values, gamma)
        values = q.max(1)
        stages.append(q)
    return stages[::-1]


def greedy_policy(q: np.ndarray, *, tolerance: float = 1e-9) -> np.ndarray:
    """The first best action of each state as probabilities, same shape as `q` [..., A]."""
    best = (q >= q.max(-1, keepdims=True) - tolerance).argmax(-1)
    return np.asarray(np.eye(q.shape[-1])[best])


def policy_model(table: TransitionTable, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected reward [S] and probabilities [S, S] of going on to a state, under a policy [S, A]."""
    size = table.probability.shape[0]
    weight = policy[:, :, None] * table.probability  # [S, A, K]
    going_on = np.where(table.terminated, 0.0, weight)
    onward = np.zeros((size, size))
    state = np.broadcast_to(np.arange(size)[:, None, None], weight.shape)
    np.add.at(onward, (state, table.next_state), going_on)
    return (weight * table.reward).sum((1, 2)), onward


def evaluate_policy(
    table: TransitionTable, policy: np.ndarray, *, gamma: float, horizon: int | None = None
) -> Evaluation:
    """Evaluate a policy [S, A] (or [horizon, S, A]) exactly: by a linear solve, or step by step up to a horizon.

    The time limit of an environment is a horizon. ValueError where a policy collects rewards for ever at gamma 1.
    """
    win = (table.probability * (table.terminated & (table.reward > 0.0))).sum(-1)  # [S, A]
    if horizon is None:
        reward, onward = policy_model(table, policy)
        values = solve(onward, reward, gamma)
        chance = solve(onward, (policy * win).sum(1), 1.0)
    else:
        policies = np.broadcast_to(policy, (horizon, *policy.shape[-2:]))
        values, chance = np.zeros(len(win)), np.zeros(len(win))
        reward, onward = policy_model(table, policies[-1])
        for step in reversed(range(horizon)):
            if policy.ndim == 3:
                reward, onward = policy_model(table, policies[step])
            values = reward + gamma * onward @ values
            chance = (policies[step] * win).sum(1) + onward @ chance
    return Evaluation(values, float(table.initial @ values), float(table.initial @ chance))


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
        raise ValueError("the policy collects rewards for ever, which has no value at gamma 1; give a horizon")
    values = np.zeros(len(reward))
    values[ends] = np.linalg.solve((identity - onward)[np.ix_(ends, ends)], reward[ends])
    return values
