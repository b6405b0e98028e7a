"""One row's part in one step of the compiled loop: act, step the environment, learn.

Each function is inlined into the loop, where the fields of `kind` are constants and the compiler drops the branches
that they rule out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gymnast.agents.tabular import exploration as explore
from gymnast.agents.tabular.exploration import best, choose, expectation, maximum, optimistic_maximum
from gymnast.agents.tabular.model import list_row, plan_step, remember
from gymnast.agents.tabular.sweeping import sweep_step, take_in
from gymnast.agents.tabular.updates import Rates, learn_window, update_pair
from gymnast.tabular.layout import (
    ACTION,
    AFTER,
    BEFORE,
    DOUBLE_Q,
    END,
    EXPECTED_SARSA,
    NOW,
    TD,
    Kind,
    Parts,
)
from gymnast.tabular.primitives import compress, first_state, inlined, nth_allowed, outcome, uniform


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
    """The action that `TabularAgent.select` takes while exploring; `q` and `counts` are rows [A]."""
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
    """The value that Q-learning and Expected SARSA bootstrap from; `q` and `counts` are rows [A]."""
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
    """The value of this table's best action in Double Q-learning's other table; all rows [A]."""
    if kind.masked:
        size = compress(mask, state, own, values[0])
        compress(mask, state, other, values[1])
        own, other, counts = values[0, :size], values[1, :size], numbers[:size]
    return other[best(explore.GREEDY, own, counts, 0.0, kind.random_ties, v)]  # type: ignore[no-any-return]


@inlined
def act(parts: Parts, strength: float, row: int) -> None:
    """Choose the row's action."""
    kind, world, learner, plan, given = parts
    here, clock, q, values = world.state[row], learner.clock, learner.q, plan.scratch_values
    entry = here
    if kind.finite:
        clock[1, row] = 0 if world.length[row] == 0 else min(clock[1, row] + 1, given.horizon - 1)
        entry += clock[1, row] * len(world.mask)
    u, v = uniform(learner.words, 1), uniform(learner.words, 1)
    if kind.algorithm == TD:
        scores = learner.policy[here]
    elif kind.algorithm == DOUBLE_Q:
        scores = values[1]
        for action in range(len(scores)):
            scores[action] = (q[0, entry, action] + q[1, entry, action]) * 0.5
    else:
        scores = q[0, entry]
    plan.moves[row, ACTION] = select(
        kind, strength, u, v, scores, learner.counts[entry], world.mask, here, values[0], plan.scratch_counts
    )


@inlined
def move(parts: Parts, step: int, row: int, finished: int) -> int:
    """Take the row's action, and begin its next episode if one ends; returns the number of episodes ended so far."""
    kind, world, _, plan, given = parts
    moves, rows = plan.moves, len(world.state)
    before, action = world.state[row], moves[row, ACTION]
    pick = outcome(world.cumulative[before, action], uniform(world.words, row)) if kind.draws else 0
    after = world.next_state[before, action, pick]
    terminated = world.terminated[before, action, pick]
    world.length[row] += 1
    world.total[row] += world.reward[before, action, pick]
    truncated = world.length[row] >= given.limit
    plan.rewards[row] = world.learned_reward[before, action, pick]
    moves[row, BEFORE], moves[row, AFTER], moves[row, NOW] = before, after, after
    moves[row, END] = 1 * terminated + 2 * truncated
    world.last_action[row] = action
    if terminated or truncated:
        moves[row, NOW] = first_state(world.initial, world.words, row, kind.draws)
        plan.returns[finished], plan.lengths[finished] = world.total[row], world.length[row]
        plan.ended[finished] = (step + 1) * rows
        finished += 1
        world.total[row], world.length[row], world.last_action[row] = 0.0, 0, -1
        world.episode[row] = world.episode[rows]
        world.episode[rows] += 1
        world.episode[rows + 1 + row] += 1
    world.state[row] = moves[row, NOW]
    return finished


class Transition(NamedTuple):
    """A row's learning data; with a finite horizon a table has one row for each state and time."""

    before: int  # the table's row of the state acted in
    entry: int  # that of the successor
    there: int  # the successor
    discount: float
    last: bool  # whether the episode, and with it every return, ends


@inlined
def moved(parts: Parts, row: int) -> Transition:
    """The row's step as learning sees it; it is counted."""
    kind, world, learner, plan, given = parts
    moves, clock, states = plan.moves, learner.clock, len(world.mask)
    terminated, ended = moves[row, END] % 2 == 1, moves[row, END] > 0
    before, entry = moves[row, BEFORE], moves[row, AFTER]
    learner.seen[entry] = True
    learner.seen[moves[row, NOW]] = True
    discount, last = given.gamma * (1.0 - terminated), ended
    if kind.renewal:
        discount, last = 1.0, moves[row, END] == 2
        if terminated:
            entry = moves[row, NOW]
    there = entry
    if kind.finite:
        later = min(clock[0, row] + 1, given.horizon - 1)
        discount = discount if clock[0, row] + 1 < given.horizon else 0.0
        before, entry = before + clock[0, row] * states, entry + later * states
        clock[0, row] = 0 if ended else later
    learner.counts[before, moves[row, ACTION]] += 1
    return Transition(before, entry, there, discount, last)


@inlined
def learn_once(parts: Parts, strength: float, rates: Rates, row: int, moved: Transition) -> tuple[float, int]:
    """Update the transition's pair, or its state for TD, at once; returns |error| and 1."""
    return abs(learn_pair(parts, strength, rates, row, moved)), 1


@inlined
def learn_sarsa(parts: Parts, strength: float, rates: Rates, row: int, moved: Transition) -> tuple[float, int]:
    """Add the transition to the row's window; returns the sum of |error| and the number of updates."""
    kind, world, learner, plan, _ = parts
    q, actions, there, last = learner.q[0], world.mask.shape[1], moved.there, moved.last
    scores, counts = q[moved.entry], learner.counts[moved.entry]
    u, v = uniform(learner.words, 0), uniform(learner.words, 0)
    last_pair = 0
    if last:
        chosen = select(
            kind, strength, u, v, scores, counts, world.mask, there, plan.scratch_values[0], plan.scratch_counts
        )
        last_pair = moved.entry * actions + chosen
    pair, reward = moved.before * actions + plan.moves[row, ACTION], plan.rewards[row]
    average, traces, window = learner.average, learner.traces, learner.window
    return learn_window(q, average, traces, window, row, pair, reward, moved.discount, last_pair, last, rates)


@inlined
def learn_dyna(parts: Parts, strength: float, rates: Rates, row: int, moved: Transition) -> tuple[float, int]:
    """Update the pair, take the transition into the model and learn from the model; as `learn_sarsa`."""
    kind, world, learner, plan, given = parts
    q, model, mask = learner.q[0], learner.model, world.mask
    total = abs(learn_pair(parts, strength, rates, row, moved))
    pair = moved.before * mask.shape[1] + plan.moves[row, ACTION]
    remember(model, pair, plan.rewards[row], moved.discount, moved.entry)
    if given.untried > 0.0 and moved.discount > 0.0:
        list_row(model, moved.entry, mask, kind.masked)
    for _ in range(given.planning):
        u, v, w = uniform(learner.words, 0), uniform(learner.words, 0), uniform(learner.words, 0)
        total += plan_step(q, model, mask, kind.masked, rates.alpha, given.gamma, given.untried, u, v, w)
    return total, 1 + given.planning


@inlined
def learn_sweeping(parts: Parts, strength: float, rates: Rates, row: int, moved: Transition) -> tuple[float, int]:
    """Take the transition into the model, and back up the first pairs of the queue; as `learn_sarsa`."""
    kind, world, learner, plan, given = parts
    q, model, queue, mask = learner.q[0], learner.model, learner.queue, world.mask
    pair = moved.before * mask.shape[1] + plan.moves[row, ACTION]
    reward, discount = plan.rewards[row], moved.discount
    take_in(q, model, queue, pair, reward, discount, moved.entry, mask, kind.masked, given.threshold)
    total, updates = 0.0, 0
    while queue.size[0] > 0 and updates < given.planning:
        total += sweep_step(q, model, queue, mask, kind.masked, rates.alpha, given.threshold)
        updates += 1
    return total, updates


@inlined
def learn_pair(parts: Parts, strength: float, rates: Rates, row: int, moved: Transition) -> float:
    """Update the transition's pair, or its state for TD; returns the error."""
    kind, world, learner, plan, given = parts
    q, mask, values, numbers, there = learner.q, world.mask, plan.scratch_values, plan.scratch_counts, moved.there
    counts, average, traces = learner.counts[moved.entry], learner.average, learner.traces
    table, pair, reward = 0, moved.before * mask.shape[1] + plan.moves[row, ACTION], plan.rewards[row]
    if kind.algorithm == TD:
        value, pair = q[0, moved.entry, 0], moved.before
    elif kind.algorithm == DOUBLE_Q:
        u, v = uniform(learner.words, 0), uniform(learner.words, 0)
        table = 0 if u < 0.5 else 1
        own, other = q[table, moved.entry], q[1 - table, moved.entry]
        value = double_value(kind, v, own, other, counts, mask, there, values, numbers)
    else:
        scores = q[0, moved.entry]
        value = next_value(kind, strength, given.bonus, scores, counts, mask, there, values[0], numbers)
    return update_pair(q[table], average, traces, row, pair, reward, moved.discount, value, moved.last, rates)
