"""The loop for tabular agents in environments with a known table, compiled: bit-equal to `gymnast/training/loop.py`.

The tables, every generator, the episodes' returns and lengths and the environment's state are equal: a run may change
between this loop and the other one at any step. Numba is imported when the first such run begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from gymnast.agents import schedules
from gymnast.agents.base import Actor, Agent
from gymnast.agents.tabular import exploration
from gymnast.agents.tabular.base import TabularActor, TabularAgent
from gymnast.agents.tabular.dyna import DynaQ, ModelBasedAgent, PrioritizedSweeping
from gymnast.agents.tabular.learners import TD, DoubleQLearning, ExpectedSarsa, NStepSarsa, QLearning, Sarsa
from gymnast.agents.tabular.model import make_model
from gymnast.agents.tabular.sweeping import make_queue
from gymnast.envs.env import Env
from gymnast.envs.rows.serial import SerialEnv
from gymnast.envs.step import TransitionTable
from gymnast.tabular import layout
from gymnast.tabular.layout import Kind, Learner, Numbers, Plan, World

ALGORITHMS: dict[type[Any], int] = {
    QLearning: layout.Q_LEARNING,
    ExpectedSarsa: layout.EXPECTED_SARSA,
    DoubleQLearning: layout.DOUBLE_Q,
    Sarsa: layout.SARSA,
    NStepSarsa: layout.SARSA,
    TD: layout.TD,
    DynaQ: layout.DYNA_Q,
    PrioritizedSweeping: layout.SWEEPING,
}
TOY_TEXT = "gymnasium.envs.toy_text."
DRAWS = {  # whether each step and reset draws a random number; only exactly known environments
    f"{TOY_TEXT}frozen_lake:FrozenLakeEnv": True,
    f"{TOY_TEXT}cliffwalking:CliffWalkingEnv": True,
    f"{TOY_TEXT}taxi:TaxiEnv": True,
    "gymnast.envs.small.chain:Chain": False,
    "gymnast.envs.small.dyna_maze:DynaMaze": False,
}
WORD = 2**64 - 1


@dataclass(frozen=True)
class TabularResult:
    """Results of `run`: the ended episodes, in that order, and metrics."""

    returns: np.ndarray  # float64
    lengths: np.ndarray  # int64
    env_steps: np.ndarray  # int64, the agent's env_step after the step that ended the episode
    metrics: dict[str, Tensor]
    """The metrics that the last `learn` would have returned."""


@dataclass(frozen=True)
class Dynamics:
    """An environment's table as the compiled loop reads it."""

    table: TransitionTable
    cumulative: np.ndarray  # float64 [S, A, K]
    learned_reward: np.ndarray  # float64 [S, A, K]
    initial: np.ndarray  # float64 [S]
    mask: np.ndarray | None  # bool [S, A]
    draws: bool
    numpy_states: bool  # whether the environment's state after a step is a NumPy number


_dynamics: WeakKeyDictionary[Env, Dynamics] = WeakKeyDictionary()


def supports(agent: Agent, env: Env) -> bool:
    """Whether `run` supports this agent and environment."""
    return (
        type(agent) in ALGORITHMS
        and isinstance(agent, TabularAgent)
        and agent.explorer.kind != exploration.THOMPSON
        and agent.num_envs == env.num_envs
        and type(env) is SerialEnv
        and env.device.type == "cpu"
        and isinstance(agent.observation_space, Discrete)
        and _knows(env)
    )


def _knows(env: SerialEnv) -> bool:
    """Whether every row is the same known environment with the same table, and is reset without new seeds."""
    bases: list[Any] = [row.env.unwrapped for row in env.rows]
    name = f"{type(bases[0]).__module__}:{type(bases[0]).__qualname__}"
    return (
        name in DRAWS
        and all(type(base) is type(bases[0]) and base.P == bases[0].P for base in bases)
        and all(row.method == "state" for row in env.rows)
        and bases[0].render_mode is None
        and env.transition_table() is not None
    )


def run(agent: Agent, actor: Actor, env: Env, *, steps: int) -> TabularResult:
    """Advance agent, actor and environment by `steps` env steps, rounded up to a multiple of the number of rows.

    The environment was reset, the actor explores, and every stored step was learned from.
    """
    if not (isinstance(agent, TabularAgent) and isinstance(actor, TabularActor) and isinstance(env, SerialEnv)):
        raise ValueError("the compiled loop takes only agents and environments that supports() accepts")
    if not actor.explore:
        raise ValueError("the compiled loop trains, so it needs an actor that explores")
    from gymnast.tabular import kernel

    if env not in _dynamics:
        _dynamics[env] = _read(env)
    dynamics, snapshot = _dynamics[env], env.snapshot()
    plan = _plan(agent, -(-steps // env.num_envs), env.num_envs)
    world, learner = _world(dynamics, snapshot, env), _learner(agent, actor, dynamics)
    finished, _ = kernel.loop(_kind(agent, dynamics))(world, learner, plan, _numbers(agent, dynamics))
    began = agent.env_step
    _give_back(agent, actor, learner, dynamics)
    agent.env_step += plan.steps * env.num_envs
    agent.updates += plan.steps
    env.restore(_snapshot(snapshot, world, dynamics))
    metrics = {"td_error": torch.tensor(plan.error[0], dtype=torch.float64)}
    ended = plan.ended[:finished] + began
    return TabularResult(plan.returns[:finished].copy(), plan.lengths[:finished].copy(), ended, metrics)


def _read(env: SerialEnv) -> Dynamics:
    table = env.transition_table()
    base: Any = env.rows[0].env.unwrapped
    if table is None:
        raise ValueError(f"{env.id} has no transition table")
    mask: Any = None
    if env.action_mask is not None:
        states = range(table.next_state.shape[0])
        mask = np.array([base.action_mask(state) for state in states]).astype(np.bool_)
    return Dynamics(
        table=table,
        cumulative=np.cumsum(table.probability, axis=-1),
        learned_reward=(table.reward.astype(np.float32) + np.float32(0.0)).astype(np.float64),
        initial=np.cumsum(table.initial),
        mask=mask,
        draws=DRAWS[f"{type(base).__module__}:{type(base).__qualname__}"],
        numpy_states=isinstance(base.P[0][0][0][1], np.generic),
    )


def _kind(agent: TabularAgent, dynamics: Dynamics) -> Kind:
    rates = agent.rates(0)
    return Kind(
        algorithm=ALGORITHMS[type(agent)],
        exploration=agent.explorer.kind,
        random_ties=agent.explorer.random_ties,
        masked=dynamics.mask is not None and agent.config.action_masks,
        finite=agent.config.horizon is not None,
        renewal=agent.config.objective == "average-reward",
        draws=dynamics.draws,
        traced=rates.decay > 0.0,
        replacing=rates.replacing,
        cut=rates.cut,
    )


def _numbers(agent: TabularAgent, dynamics: Dynamics) -> Numbers:
    rates = agent.rates(0)
    bonus = agent.config.kappa if isinstance(agent, QLearning) and agent.config.bootstrap_bonus else 0.0
    limit = dynamics.table.max_episode_steps
    return Numbers(
        gamma=float(agent.config.gamma),
        horizon=agent.config.horizon or 0,
        limit=np.iinfo(np.int64).max if limit is None else min(limit, np.iinfo(np.int64).max),
        bonus=float(bonus),
        average=float(rates.average),
        decay=float(rates.decay),
        planning=agent.config.planning_steps if isinstance(agent, ModelBasedAgent) else 0,
        untried=float(agent.config.time_bonus) if isinstance(agent, DynaQ) else 0.0,
        threshold=float(agent.config.threshold) if isinstance(agent, PrioritizedSweeping) else 0.0,
    )


def _plan(agent: TabularAgent, steps: int, rows: int) -> Plan:
    room = steps * rows
    return Plan(
        steps=steps,
        alpha=_at_steps(agent.alpha, agent.env_step, steps, rows),
        strength=_at_steps(agent.explorer.strength, agent.env_step, steps, rows),
        returns=np.empty(room),
        lengths=np.empty(room, np.int64),
        ended=np.empty(room, np.int64),
        error=np.zeros(1),
        scratch_values=np.empty((2, agent.num_actions)),
        scratch_counts=np.empty(agent.num_actions, np.int64),
        moves=np.empty((rows, 5), np.int64),
        rewards=np.empty(rows),
    )


def _at_steps(schedule: schedules.Schedule, begin: int, steps: int, rows: int) -> np.ndarray:
    """A schedule at each step, float64 [steps], or [1] if it is constant."""
    at = range(begin, begin + steps * rows, rows)
    if isinstance(schedule, partial):
        if schedule.func is schedules.constant:
            return np.array([schedule(begin)])
        if schedule.func is schedules.linear:  # the same arithmetic on all steps at once
            start, end = schedule.keywords["start"], schedule.keywords["end"]
            values: np.ndarray = start + (end - start) * np.minimum(np.array(at) / schedule.keywords["steps"], 1.0)
            return values
    return np.array([schedule(step) for step in at])


def _world(dynamics: Dynamics, snapshot: dict[str, Any], env: SerialEnv) -> World:
    table, rows = dynamics.table, snapshot["rows"]
    states, actions = table.next_state.shape[:2]
    return World(
        cumulative=dynamics.cumulative,
        next_state=table.next_state,
        reward=table.reward,
        learned_reward=dynamics.learned_reward,
        terminated=table.terminated,
        initial=dynamics.initial,
        mask=np.ones((states, actions), np.bool_) if dynamics.mask is None else dynamics.mask,
        words=np.array([_words(row["env"]["np_random"]) for row in rows], np.uint64),
        state=env.obs.numpy().astype(np.int64),  # type: ignore[union-attr]
        length=np.array([row["length"] for row in rows], np.int64),
        total=np.array([row["episode_return"] for row in rows], np.float64),
        last_action=np.full(len(rows), -2, np.int64),
        episode=np.array([*snapshot["episode"], snapshot["begun"], *snapshot["begun_by_row"]], np.int64),
    )


def _learner(agent: TabularAgent, actor: TabularActor, dynamics: Dynamics) -> Learner:
    return Learner(
        q=agent.q,
        counts=agent.counts,
        policy=agent.policy if isinstance(agent, TD) else np.zeros((1, agent.num_actions)),
        average=agent.average,
        traces=agent.traces,
        window=agent.window,
        model=agent.model if isinstance(agent, ModelBasedAgent) else make_model(1, 1, 1),
        queue=agent.queue if isinstance(agent, PrioritizedSweeping) else make_queue(1, 1, 1),
        clock=np.stack([agent.clock, actor.clock]),
        words=np.array([_words(rng.bit_generator.state) for rng in (agent.rng, actor.rng)], np.uint64),
        seen=np.zeros(dynamics.table.next_state.shape[0], np.bool_),
    )


def _give_back(agent: TabularAgent, actor: TabularActor, learner: Learner, dynamics: Dynamics) -> None:
    """Tables, traces and windows were changed in place; clocks, generators and allowed actions follow."""
    agent.clock, actor.clock = learner.clock[0].copy(), learner.clock[1].copy()
    for rng, words in zip((agent.rng, actor.rng), learner.words, strict=True):
        rng.bit_generator.state = _generator(rng.bit_generator.state, words)
    if dynamics.mask is not None and agent.config.action_masks:
        agent.allowed[learner.seen] = dynamics.mask[learner.seen]


def _snapshot(snapshot: dict[str, Any], world: World, dynamics: Dynamics) -> dict[str, Any]:
    """The environment's snapshot as it would be after the steps taken."""
    for index, row in enumerate(snapshot["rows"]):
        state, last = int(world.state[index]), int(world.last_action[index])
        row["length"], row["episode_return"] = int(world.length[index]), float(world.total[index])
        inner = row["env"]
        inner["np_random"] = _generator(inner["np_random"], world.words[index])
        if "s" in inner["state"]:
            sampled = last == -1 or dynamics.numpy_states
            inner["state"]["s"] = torch.tensor(state) if sampled else state
            inner["state"]["lastaction"] = None if last == -1 else last
        else:
            inner["state"]["state"] = state
    snapshot["obs"] = torch.from_numpy(world.state.copy())
    snapshot["start"] = torch.from_numpy(world.length == 0)
    if snapshot["action_mask"] is not None:
        snapshot["action_mask"] = torch.from_numpy(world.mask[world.state])
    rows, counts = len(snapshot["rows"]), world.episode.tolist()
    snapshot["episode"], snapshot["begun"], snapshot["begun_by_row"] = counts[:rows], counts[rows], counts[rows + 1 :]
    return snapshot


def _words(state: Any) -> list[int]:
    """A PCG64 state as 64-bit words: low and high of the state, low and high of the increment."""
    state = state["state"]
    return [word & WORD for number in (state["state"], state["inc"]) for word in (number, number >> 64)]


def _generator(state: Any, words: np.ndarray) -> dict[str, Any]:
    """A PCG64 state with the state that words hold."""
    low, high = int(words[0]), int(words[1])
    return {**state, "state": {"state": high << 64 | low, "inc": state["state"]["inc"]}}
