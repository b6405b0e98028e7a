"""How a tabular agent explores: pure functions of one row of Q-values, one row of counts and two uniform numbers.

Every decision takes exactly two uniform numbers, whether it needs them or not, so that the random stream does
not depend on the table. The functions use only scalars and indexing: they run as plain Python, on lists or
arrays, and Numba compiles the same functions for the compiled loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

Row: TypeAlias = "Sequence[Any] | Any"
"""One number per action: a list or a one-dimensional array."""
Exploration: TypeAlias = Literal["epsilon-greedy", "boltzmann", "count", "ucb", "thompson", "greedy"]

GREEDY, EPSILON_GREEDY, BOLTZMANN, COUNT, UCB, POLICY, THOMPSON = range(7)
CODES: dict[str, int] = {
    "greedy": GREEDY,
    "epsilon-greedy": EPSILON_GREEDY,
    "boltzmann": BOLTZMANN,
    "count": COUNT,
    "ucb": UCB,
    "thompson": THOMPSON,
}


def choose(kind: int, q: Row, counts: Row, strength: float, random_ties: bool, u: float, v: float) -> int:
    """The action that an exploration takes; `u` and `v` are uniform in [0, 1).

    `strength` is epsilon, the temperature, kappa or UCB's c. For POLICY `q` holds the probabilities of the actions.
    Equal best actions are drawn from at random, or the first one is taken.
    """
    if kind == BOLTZMANN:
        return boltzmann(q, strength, u)
    if kind == POLICY:
        return categorical(q, u)
    if kind == EPSILON_GREEDY and u < strength:
        return int(v * len(q))
    return best(kind, q, counts, strength, random_ties, v)


def best(kind: int, q: Row, counts: Row, strength: float, random_ties: bool, v: float) -> int:
    """The action with the highest score; among n equal ones number floor(v * n), or the first."""
    total = count_total(kind, counts)
    top, choice, ties = -math.inf, 0, 0
    for action in range(len(q)):
        value = score(kind, q[action], counts[action], total, strength)
        if value > top:
            top, choice, ties = value, action, 1
        elif value == top:
            ties += 1
    if ties <= 1 or not random_ties:
        return choice
    skip = int(v * ties)
    for action in range(choice, len(q)):
        if score(kind, q[action], counts[action], total, strength) == top:
            if skip == 0:
                return action
            skip -= 1
    return choice


def count_total(kind: int, counts: Row) -> float:
    """How often any action was taken here; only UCB uses it."""
    total = 0.0
    if kind == UCB:
        for action in range(len(counts)):
            total += counts[action]
    return total


def score(kind: int, q: float, count: float, total: float, strength: float) -> float:
    """The scores: Q, Q + kappa / (1 + N), or Q + c * sqrt(ln(sum N) / N) with untried actions first (UCB1)."""
    if kind == COUNT:
        return q + strength / (1.0 + count)
    if kind == UCB:
        return math.inf if count == 0 else q + strength * math.sqrt(math.log(total) / count)
    return q


def boltzmann(q: Row, temperature: float, u: float) -> int:
    """Draw an action with probability proportional to exp(Q / temperature)."""
    top = maximum(q)
    total = 0.0
    for action in range(len(q)):
        total += math.exp((q[action] - top) / temperature)
    threshold, cumulative = u * total, 0.0
    for action in range(len(q)):
        cumulative += math.exp((q[action] - top) / temperature)
        if cumulative > threshold:
            return action
    return len(q) - 1


def categorical(probabilities: Row, u: float) -> int:
    """Draw an index in proportion to weights that need not add up to 1."""
    total = 0.0
    for index in range(len(probabilities)):
        total += probabilities[index]
    threshold, cumulative, last = u * total, 0.0, 0
    for index in range(len(probabilities)):
        if probabilities[index] > 0.0:
            cumulative += probabilities[index]
            last = index
            if cumulative > threshold:
                return index
    return last


def thompson(q: Row, counts: Row, scale: float, normal: Row) -> int:
    """Best of one draw per action from its posterior N(Q, scale**2 / (1 + N)); `normal` holds standard normals."""
    draws = [q[a] + scale * normal[a] / math.sqrt(1.0 + counts[a]) for a in range(len(q))]
    return best(GREEDY, draws, counts, 0.0, False, 0.0)


def maximum(q: Row) -> float:
    """The largest value of a row."""
    top = q[0]
    for action in range(1, len(q)):
        if q[action] > top:
            top = q[action]
    return top  # type: ignore[no-any-return]


def optimistic_maximum(q: Row, counts: Row, kappa: float) -> float:
    """max over actions of Q + kappa / (1 + N): exploration inside the bootstrap (Russell & Norvig, eq. 22.5)."""
    top = -math.inf
    for action in range(len(q)):
        top = max(top, q[action] + kappa / (1.0 + counts[action]))
    return top


def expectation(kind: int, q: Row, counts: Row, strength: float, random_ties: bool) -> float:
    """The mean of Q under the exploring policy, from which Expected SARSA bootstraps."""
    if kind == BOLTZMANN:
        return boltzmann_mean(q, strength)
    if kind in (COUNT, UCB):
        return best_mean(kind, q, counts, strength, random_ties)
    epsilon = strength if kind == EPSILON_GREEDY else 0.0
    total = 0.0
    for action in range(len(q)):
        total += q[action]
    return epsilon * (total / len(q)) + (1.0 - epsilon) * maximum(q)


def boltzmann_mean(q: Row, temperature: float) -> float:
    top = maximum(q)
    total, weighted = 0.0, 0.0
    for action in range(len(q)):
        weight = math.exp((q[action] - top) / temperature)
        total += weight
        weighted += weight * q[action]
    return weighted / total


def best_mean(kind: int, q: Row, counts: Row, strength: float, random_ties: bool) -> float:
    total = count_total(kind, counts)
    top, weighted, ties = -math.inf, 0.0, 0
    for action in range(len(q)):
        value = score(kind, q[action], counts[action], total, strength)
        if value > top:
            top, weighted, ties = value, q[action], 1
        elif value == top and random_ties:
            weighted += q[action]
            ties += 1
    return weighted / ties
