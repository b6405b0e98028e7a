"""Distance from the optimum in known environments: exact values on a table, regret of a bandit."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from gymnast.agents.base import ActionValueTable, Agent, ConfiguredAgent, DiscountedConfig, VisitCounts
from gymnast.agents.tabular.dynamic_programming import evaluate_policy, optimal_q, optimal_stages
from gymnast.agents.tabular.learners import TD
from gymnast.envs.env import Env
from gymnast.envs.rows.serial import SerialEnv
from gymnast.envs.step import TransitionTable


@runtime_checkable
class KnownArms(Protocol):
    """A bandit that reports the means of its arms."""

    means: np.ndarray
    """Mean reward of each arm, float64 [A]."""


def against_optimal(agent: Agent, env: Env, *, horizon: int) -> dict[str, Any]:
    """Compare an agent's table with the exact solution of the environment; ValueError if it has no known table.

    Exact returns are undiscounted, of episodes of at most `horizon` steps; in FrozenLake they are chances of success.
    For a prediction agent the truth is the value of its policy.
    """
    table = env.transition_table()
    if table is None:
        raise ValueError(f"against_optimal needs a known transition table, but {env.id} has none")
    if isinstance(agent, TD):
        return _prediction_error(agent, table)
    config = agent.config if isinstance(agent, ConfiguredAgent) else None
    if not (isinstance(config, DiscountedConfig) and isinstance(agent, ActionValueTable)):
        raise ValueError("against_optimal needs an agent with a table of values and a gamma")
    gamma, q = config.gamma, agent.q_table()
    if q.ndim == 3:  # one table for each number of remaining steps
        horizon, best = len(q), optimal_stages(table, gamma, horizon=len(q))
    else:
        best = optimal_q(table, gamma)
    greedy, optimal = q.argmax(-1), best.argmax(-1)
    exact = [float(table.initial @ evaluate_policy(table, p, gamma=1.0, horizon=horizon)) for p in (greedy, optimal)]
    found = {"exact_return": exact[0], "optimal_return": exact[1]}
    if q.ndim == 3:
        return found
    reached = reachable(table, greedy)
    agrees = best[np.arange(len(greedy)), greedy] >= best.max(1) - 1e-6
    return {
        **found,
        "optimal_actions": f"{int(agrees[reached].sum())} of {int(reached.sum())} states that the policy reaches",
        "largest_value_error": float(np.abs(q.max(1) - best.max(1))[reached].max()),
    }


def _prediction_error(agent: TD, table: TransitionTable) -> dict[str, float]:
    learned = agent.value_table()
    if learned.ndim > 1:
        raise ValueError("against_optimal compares stationary values; this agent learned one table per remaining step")
    truth = evaluate_policy(table, agent.policy, gamma=agent.config.gamma)
    return {
        "largest_value_error": float(np.abs(learned - truth).max()),
        "mean_value_error": float(np.abs(learned - truth).mean()),
    }


def reachable(table: TransitionTable, policy: np.ndarray) -> np.ndarray:
    """The states, bool [S], in which an episode under a policy, int [S], may have to choose an action."""
    found = table.initial > 0
    while True:
        states = np.flatnonzero(found)
        actions = policy[states]
        goes_on = (table.probability[states, actions] > 0) & ~table.terminated[states, actions]
        more = found.copy()
        more[table.next_state[states, actions][goes_on]] = True
        if (more == found).all():
            return found
        found = more


def bandit_regret(agent: Agent, env: Env) -> dict[str, float]:
    """Pseudo-regret of all pulls so far, `regret`, in a bandit whose means are known; empty elsewhere.

    The best mean minus the mean of the arm pulled, summed over pulls (Lai & Robbins 1985).
    """
    bandit: Any = env.rows[0].env.unwrapped if isinstance(env, SerialEnv) else None
    if not (isinstance(bandit, KnownArms) and isinstance(agent, VisitCounts)):
        return {}
    means, counts = bandit.means, agent.counts
    return {"regret": float(counts[0] @ (means.max() - means))} if counts.shape == (1, len(means)) else {}
