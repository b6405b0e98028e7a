"""Act, step and learn over a known transition table, compiled: what `gymnast/tabular/loop.py` runs.

The functions of `agents/tabular/exploration.py` and `agents/tabular/updates.py` are compiled as they stand; written
anew are only the order in which a step of N rows happens and, in `gymnast/tabular/primitives.py`, how random numbers
are drawn.

Three things make it fast: a loop for each combination of options, from which Numba prunes what is not asked for,
inlining everywhere, and arrays without reference counts.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from gymnast.agents.tabular import exploration as explore
from gymnast.agents.tabular import updates
from gymnast.agents.tabular.exploration import best, choose, expectation, maximum, optimistic_maximum
from gymnast.agents.tabular.updates import Rates, Traces, Window, learn_window, update_pair
from gymnast.tabular import primitives
from gymnast.tabular.primitives import borrowed, compress, first_state, inlined, nth_allowed, outcome, uniform

Q_LEARNING, EXPECTED_SARSA, DOUBLE_Q, SARSA, TD = range(5)
"""Which update; SARSA is n-step SARSA too."""
ACTION, BEFORE, AFTER, NOW, END = range(5)
"""Columns of a step: action, state, true successor, state after a reset, 1 if terminated plus 2 if truncated."""


class World(NamedTuple):
    """The environment: its table, and where each of the N rows is."""

    cumulative: np.ndarray  # float64 [S, A, K]
    next_state: np.ndarray  # int64 [S, A, K]
    reward: np.ndarray  # float64 [S, A, K], what returns add up
    learned_reward: np.ndarray  # float64 [S, A, K], rounded to float32 as in `Step`
    terminated: np.ndarray  # bool [S, A, K]
    initial: np.ndarray  # float64 [S], cumulative
    mask: np.ndarray  # bool [S, A]
    words: np.ndarray  # uint64 [N, 4], the generators
    state: np.ndarray  # int64 [N]
    length: np.ndarray  # int64 [N]
    total: np.ndarray  # float64 [N], return of the episode so far
    last_action: np.ndarray  # int64 [N], -1 at an episode's start
    episode: np.ndarray  # int64 [N + 1], numbers of the episodes, then how many have begun


class Learner(NamedTuple):
    """The agent and its exploring actor."""

    q: np.ndarray  # float64 [tables, rows, A or 1]
    counts: np.ndarray  # int64 [rows, A]
    policy: np.ndarray  # float64 [S, A], what TD follows
    average: np.ndarray  # float64 [1]
    traces: Traces
    window: Window
    clock: np.ndarray  # int64 [2, N], the agent's and the actor's
    words: np.ndarray  # uint64 [2, 4], the agent's generator and the actor's
    seen: np.ndarray  # bool [S], states that were entered


class Plan(NamedTuple):
    """How far to go, the schedules on the way, and room for what comes out."""

    steps: int  # of every row
    alpha: np.ndarray  # float64 [steps] or [1]
    strength: np.ndarray  # float64 [steps] or [1]
    returns: np.ndarray  # float64 [steps * N]
    lengths: np.ndarray  # int64 [steps * N]
    ended: np.ndarray  # int64 [steps * N], env steps since the plan's start
    error: np.ndarray  # float64 [1], mean |error| of the last step
    values: np.ndarray  # float64 [2, A], scratch
    numbers: np.ndarray  # int64 [A], scratch
    moves: np.ndarray  # int64 [N, 5], scratch
    rewards: np.ndarray  # float64 [N], scratch


class Numbers(NamedTuple):
    """Numbers that differ from run to run without another loop being compiled."""

    gamma: float
    horizon: int
    limit: int  # steps of an episode
    bonus: float  # kappa inside the bootstrap's maximum, 0 without
    average: float
    decay: float


class Kind(NamedTuple):
    """What a loop is compiled for."""

    algorithm: int
    exploration: int
    random_ties: bool
    masked: bool
    finite: bool  # a finite horizon
    renewal: bool  # average reward: an episode's end leads to the next one's start
    draws: bool  # whether steps and resets take a random number each
    traced: bool
    replacing: bool
    cut: bool


@inlined
def select(
    kind: Kind,
    strength: float,
    u: float,
    v: float,
    q: np.ndarray,
    counts: np.ndarray,
    mask: np.ndarray,
    state: int,
    values: np.ndarray,
    numbers: np.ndarray,
) -> int:
    """What `TabularAgent.select` takes while exploring; `q` and `counts` are rows [A]."""
    if not kind.masked:
        return choose(kind.exploration, q, counts, strength, kind.random_ties, u, v)
    size = compress(mask, state, q, values)
    compress(mask, state, counts, numbers)
    chosen = choose(kind.exploration, values[:size], numbers[:size], strength, kind.random_ties, u, v)
    return nth_allowed(mask, state, chosen)


@inlined
def next_value(
    kind: Kind,
    strength: float,
    bonus: float,
    q: np.ndarray,
    counts: np.ndarray,
    mask: np.ndarray,
    state: int,
    values: np.ndarray,
    numbers: np.ndarray,
) -> float:
    """What Q-learning and Expected SARSA bootstrap from; `q` and `counts` are rows [A]."""
    if kind.masked:
        size = compress(mask, state, q, values)
        compress(mask, state, counts, numbers)
        q, counts = values[:size], numbers[:size]
    if kind.algorithm == EXPECTED_SARSA:
        return expectation(kind.exploration, q, counts, strength, kind.random_ties)
    if bonus > 0.0:
        return optimistic_maximum(q, counts, bonus)
    return maximum(q)


@inlined
def double_value(
    kind: Kind,
    v: float,
    own: np.ndarray,
    other: np.ndarray,
    counts: np.ndarray,
    mask: np.ndarray,
    state: int,
    values: np.ndarray,
    numbers: np.ndarray,
) -> float:
    """What Double Q-learning's other table says of this table's best action; all rows [A]."""
    if kind.masked:
        size = compress(mask, state, own, values[0])
        compress(mask, state, other, values[1])
        own, other, counts = values[0, :size], values[1, :size], numbers[:size]
    return other[best(explore.GREEDY, own, counts, 0.0, kind.random_ties, v)]  # type: ignore[no-any-return]


def _compile(
    algorithm: int,
    exploration: int,
    random_ties: bool,
    masked: bool,
    finite: bool,
    renewal: bool,
    draws: bool,
    traced: bool,
    replacing: bool,
    cut: bool,
    stamp: int,
) -> Callable[[World, Learner, Plan, Numbers], tuple[int, int]]:
    """A loop for the fields of a `Kind`, cached on disk.

    Numba prunes branches on numbers of the closure, hence ten of them instead of a tuple. Its cache notices changes of
    this file and of the closure's numbers, not of functions from other files that are compiled in: `stamp` is a
    checksum of those. Act, step and learn stand in one piece, because handing arrays on is what costs time in Numba.
    """

    @njit(cache=True)
    def advance(world: World, learner: Learner, plan: Plan, given: Numbers) -> tuple[int, int]:
        world, learner, plan = borrowed(world), borrowed(learner), borrowed(plan)
        kind = Kind(algorithm, exploration, random_ties, masked, finite, renewal, draws, traced, replacing, cut)
        cumulative, next_state, ends_there = world.cumulative, world.next_state, world.terminated
        mask, state, length, total, words = world.mask, world.state, world.length, world.total, world.words
        last_action, episode = world.last_action, world.episode
        q, counts, average, traces, window = learner.q, learner.counts, learner.average, learner.traces, learner.window
        values, numbers, moves, rewards = plan.values, plan.numbers, plan.moves, plan.rewards
        clock, generators, seen = learner.clock, learner.words, learner.seen
        rows, actions, states = len(state), next_state.shape[1], next_state.shape[0]
        varying_alpha, varying_strength = int(len(plan.alpha) > 1), int(len(plan.strength) > 1)
        horizon = given.horizon
        error_sum, updated, finished = 0.0, 0, 0
        for step in range(plan.steps):
            strength = plan.strength[step * varying_strength]
            rates = Rates(
                plan.alpha[step * varying_alpha],
                given.average if renewal else 0.0,
                given.decay if traced else 0.0,
                replacing,
                cut,
            )
            for row in range(rows):  # act
                here = state[row]
                entry = here
                if finite:
                    clock[1, row] = 0 if length[row] == 0 else min(clock[1, row] + 1, horizon - 1)
                    entry += clock[1, row] * states
                u, v = uniform(generators, 1), uniform(generators, 1)
                if algorithm == TD:
                    scores = learner.policy[here]
                elif algorithm == DOUBLE_Q:
                    scores = values[1]
                    for action in range(actions):
                        scores[action] = (q[0, entry, action] + q[1, entry, action]) * 0.5
                else:
                    scores = q[0, entry]
                moves[row, ACTION] = select(kind, strength, u, v, scores, counts[entry], mask, here, values[0], numbers)

            for row in range(rows):  # step
                before, action = state[row], moves[row, ACTION]
                pick = outcome(cumulative[before, action], uniform(words, row)) if draws else 0
                after = next_state[before, action, pick]
                terminated = ends_there[before, action, pick]
                length[row] += 1
                total[row] += world.reward[before, action, pick]
                truncated = length[row] >= given.limit
                rewards[row] = world.learned_reward[before, action, pick]
                moves[row, BEFORE], moves[row, AFTER], moves[row, NOW] = before, after, after
                moves[row, END] = 1 * terminated + 2 * truncated
                last_action[row] = action
                if terminated or truncated:
                    moves[row, NOW] = first_state(world.initial, words, row, draws)
                    plan.returns[finished], plan.lengths[finished] = total[row], length[row]
                    plan.ended[finished] = (step + 1) * rows
                    finished += 1
                    total[row], length[row], last_action[row] = 0.0, 0, -1
                    episode[row] = episode[rows]
                    episode[rows] += 1
                state[row] = moves[row, NOW]
            error_sum, updated = 0.0, 0
            for row in range(rows):  # learn
                terminated, ended = moves[row, END] % 2 == 1, moves[row, END] > 0
                before, entry = moves[row, BEFORE], moves[row, AFTER]
                seen[entry] = True
                seen[moves[row, NOW]] = True
                discount, last = given.gamma * (1.0 - terminated), ended
                if renewal:
                    discount, last = 1.0, moves[row, END] == 2
                    if terminated:
                        entry = moves[row, NOW]
                there = entry
                if finite:
                    later = min(clock[0, row] + 1, horizon - 1)
                    discount = discount if clock[0, row] + 1 < horizon else 0.0
                    before, entry = before + clock[0, row] * states, entry + later * states
                    clock[0, row] = 0 if ended else later
                pair, reward = before * actions + moves[row, ACTION], rewards[row]
                counts[before, moves[row, ACTION]] += 1
                if algorithm == SARSA:
                    u, v = uniform(generators, 0), uniform(generators, 0)
                    last_pair = 0
                    if last:
                        last_pair = entry * actions + select(
                            kind, strength, u, v, q[0, entry], counts[entry], mask, there, values[0], numbers
                        )
                    errors, done = learn_window(
                        q[0], average, traces, window, row, pair, reward, discount, last_pair, last, rates
                    )
                    error_sum += errors
                    updated += done
                    continue
                table, entered = 0, pair
                if algorithm == TD:
                    value, entered = q[0, entry, 0], before
                elif algorithm == DOUBLE_Q:
                    u, v = uniform(generators, 0), uniform(generators, 0)
                    table = 0 if u < 0.5 else 1
                    own, other = q[table, entry], q[1 - table, entry]
                    value = double_value(kind, v, own, other, counts[entry], mask, there, values, numbers)
                else:
                    value = next_value(
                        kind, strength, given.bonus, q[0, entry], counts[entry], mask, there, values[0], numbers
                    )
                error = update_pair(q[table], average, traces, row, entered, reward, discount, value, last, rates)
                error_sum += abs(error)
                updated += 1
        plan.error[0] = error_sum / max(updated, 1)
        return finished, stamp

    return advance


_STAMP = zlib.crc32("".join(inspect.getsource(module) for module in (explore, updates, primitives)).encode())


@cache
def loop(kind: Kind) -> Callable[[World, Learner, Plan, Numbers], tuple[int, int]]:
    """The compiled loop for a combination of options; returns how many episodes ended (and the stamp)."""
    return _compile(*kind, _STAMP)
