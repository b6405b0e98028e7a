"""The tuples of arrays and numbers that the compiled loop over a known table reads and writes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gymnast.agents.tabular.model import Model
from gymnast.agents.tabular.sweeping import Queue
from gymnast.agents.tabular.updates import Traces, Window

Q_LEARNING, EXPECTED_SARSA, DOUBLE_Q, SARSA, TD, DYNA_Q, SWEEPING = range(7)
"""Which update; SARSA is n-step SARSA too."""
ACTION, BEFORE, AFTER, NOW, END = range(5)
"""Columns of `Plan.moves`: action, state, true successor, state after a reset, 1 if terminated plus 2 if truncated."""


class World(NamedTuple):
    """The environment: its table, and where each of the N rows is."""

    cumulative: np.ndarray  # float64 [S, A, K]
    next_state: np.ndarray  # int64 [S, A, K]
    reward: np.ndarray  # float64 [S, A, K], summed by returns
    learned_reward: np.ndarray  # float64 [S, A, K], rounded to float32 as in `Step`
    terminated: np.ndarray  # bool [S, A, K]
    initial: np.ndarray  # float64 [S], cumulative
    mask: np.ndarray  # bool [S, A]
    words: np.ndarray  # uint64 [N, 4], the generators
    state: np.ndarray  # int64 [N]
    length: np.ndarray  # int64 [N]
    total: np.ndarray  # float64 [N], return of the episode so far
    last_action: np.ndarray  # int64 [N], -1 at an episode's start
    episode: np.ndarray  # int64 [2N + 1], numbers of the episodes, how many have begun, and how many in each row


class Learner(NamedTuple):
    """The agent and its exploring actor."""

    q: np.ndarray  # float64 [tables, rows, A or 1]
    counts: np.ndarray  # int64 [rows, A]
    policy: np.ndarray  # float64 [S, A], the policy that TD follows
    average: np.ndarray  # float64 [1]
    traces: Traces
    window: Window
    model: Model  # of agents that plan; else of nothing
    queue: Queue  # of prioritized sweeping; else empty
    clock: np.ndarray  # int64 [2, N], the agent's and the actor's
    words: np.ndarray  # uint64 [2, 4], the agent's generator and the actor's
    seen: np.ndarray  # bool [S], visited states


class Plan(NamedTuple):
    """The number of steps, the schedules over them, and room for the results."""

    steps: int  # of every row
    alpha: np.ndarray  # float64 [steps] or [1]
    strength: np.ndarray  # float64 [steps] or [1]
    returns: np.ndarray  # float64 [steps * N]
    lengths: np.ndarray  # int64 [steps * N]
    ended: np.ndarray  # int64 [steps * N], env steps since the plan's start
    error: np.ndarray  # float64 [1], mean |error| of the last step
    scratch_values: np.ndarray  # float64 [2, A]
    scratch_counts: np.ndarray  # int64 [A]
    moves: np.ndarray  # int64 [N, 5], of the current step
    rewards: np.ndarray  # float64 [N], of the current step


class Numbers(NamedTuple):
    """Numbers that differ from run to run and need no separate loop."""

    gamma: float
    horizon: int
    limit: int  # steps of an episode
    bonus: float  # kappa inside the bootstrap's maximum, 0 without
    average: float
    decay: float
    planning: int  # updates from the model after each step
    untried: float  # kappa of Dyna-Q+
    threshold: float  # of prioritized sweeping


class Kind(NamedTuple):
    """The configuration that a loop is compiled for."""

    algorithm: int
    exploration: int
    random_ties: bool
    masked: bool
    finite: bool  # a finite horizon
    renewal: bool  # average reward: an episode's end leads to the next one's start
    draws: bool  # whether each step and reset draws a random number
    traced: bool
    replacing: bool
    cut: bool


class Parts(NamedTuple):
    """All parts of a loop."""

    kind: Kind
    world: World
    learner: Learner
    plan: Plan
    numbers: Numbers
