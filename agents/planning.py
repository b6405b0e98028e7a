"""Planning on a known transition table: the ground truth that learned values are compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Metrics
from gymnast.envs.step import Obs, Step, TransitionTable


def backup(table: TransitionTable, values: np.ndarray, gamma: float) -> np.ndarray:
    """Q [S, A] of one step and then `values` [S]: the Bellman operator (Sutton & Barto 2018, eq. 4.10)."""
    following = table.reward + gamma * ~table.terminated * values[table.next_state]  # [S, A, K]
    result: np.ndarray = (table.probability * following).sum(-1)
    return result


def optimal_q(
    table: TransitionTable, *, gamma: float, tolerance: float = 1e-12, horizon: int | None = None, sweeps: int = 100_000
) -> np.ndarray:
    """Optimal Q [S, A], within `tolerance` of the Bellman equation; with a horizon, of so many steps to go.

    Raises ValueError where `sweeps` do not reach the tolerance (gamma 1 and rewards that never end, say).
    """
    q = np.zeros(table.probability.shape[:2])
    for _ in range(sweeps if horizon is None else horizon):
        before, q = q, backup(table, q.max(1), gamma)
        if horizon is None and np.abs(q - before).max() <= tolerance:
            return q
    if horizon is None:
        raise ValueError(f"value iteration does not converge within {sweeps} sweeps at gamma {gamma}; give a horizon")
    return q


def evaluate_policy(
    table: TransitionTable, policy: np.ndarray, *, gamma: float, horizon: int | None = None
) -> np.ndarray:
    """Exact values [S] of a policy: actions int [S], or probabilities [S, A] (Sutton & Barto 2018, eq. 4.4).

    With a horizon the return of so many steps (what an episode under that time limit gets), without one the solution
    of the linear system, which needs gamma < 1.
    """
    states, actions = table.probability.shape[:2]
    chances = np.eye(actions)[policy] if policy.ndim == 1 else policy  # [S, A]
    if horizon is not None:
        values = np.zeros(states)
        for _ in range(horizon):
            values = (chances * backup(table, values, gamma)).sum(1)
        return values
    if gamma >= 1.0:
        raise ValueError(f"gamma must be < 1 without a horizon, got {gamma}")
    reward = (chances * backup(table, np.zeros(states), 0.0)).sum(1)
    moves = np.zeros((states, states))
    weight = chances[:, :, None] * table.probability * ~table.terminated  # [S, A, K]
    np.add.at(moves, (np.arange(states)[:, None, None], table.next_state), weight)
    solution: np.ndarray = np.linalg.solve(np.eye(states) - gamma * moves, reward)
    return solution


@dataclass(frozen=True)
class ValueIterationConfig:
    """Value iteration (Bellman 1957; Sutton & Barto 2018, section 4.4)."""

    gamma: float = 0.99
    """Discount of one step."""
    tolerance: float = 1e-10
    """Sweep until no value changes by more."""
    max_sweeps: int = 100_000
    """Sweep at most so often."""
    horizon: int | None = None
    """Plan for so many steps to go, in place of until nothing changes."""
    iterate: Literal["values", "q-values"] = "values"
    """What a sweep updates: values of states, or of pairs of state and action (Q-value iteration)."""

    def __post_init__(self) -> None:
        check(self.gamma, self.tolerance, self.max_sweeps)
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon must be >= 1, got {self.horizon}")


@dataclass(frozen=True)
class PolicyIterationConfig:
    """Policy iteration (Howard 1960; Sutton & Barto 2018, section 4.3)."""

    gamma: float = 0.99
    """Discount of one step, less than 1."""
    evaluation: Literal["exact", "iterative"] = "exact"
    """How a policy is evaluated: by a linear solve, or by sweeps until the tolerance."""
    tolerance: float = 1e-10
    """Iterative evaluation sweeps until no value changes by more."""
    max_sweeps: int = 100_000
    """Sweeps of one iterative evaluation at most, and rounds of improvement at most."""

    def __post_init__(self) -> None:
        check(self.gamma, self.tolerance, self.max_sweeps)
        if self.gamma >= 1.0:
            raise ValueError(f"gamma must be < 1: a policy that never ends has no value otherwise, got {self.gamma}")


def check(gamma: float, tolerance: float, max_sweeps: int) -> None:
    """Raise ValueError where planning options make no sense."""
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must be between 0 and 1, got {gamma}")
    if not 0.0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be > 0, got {tolerance}")
    if max_sweeps < 1:
        raise ValueError(f"max_sweeps must be >= 1, got {max_sweeps}")


class Planner(ABC):
    """What planning agents share: they learn from the table alone, and act greedily on what they found."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        if not (isinstance(observation_space, gym.spaces.Discrete) and isinstance(action_space, gym.spaces.Discrete)):
            raise ValueError("planning needs Discrete observations and actions, as toy text has; see gymnast list envs")
        self.observation_space, self.action_space = observation_space, action_space
        self.first_state, self.first_action = int(observation_space.start), int(action_space.start)
        self.q = np.zeros((int(observation_space.n), int(action_space.n)))  # [S, A]
        self.env_step = self.updates = 0

    @abstractmethod
    def plan(self, table: TransitionTable) -> Iterator[dict[str, float]]:
        """Plan on the table; one item a sweep, with what it changed."""

    def q_table(self) -> np.ndarray:
        """Q, float64 [S, A]."""
        return np.array(self.q)

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> PlanActor:
        return PlanActor(self)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        """Count the step; experience changes nothing in a plan."""
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        return 0

    def learn(self) -> Metrics:
        raise RuntimeError("a planning agent learns from a table, by plan(table)")

    def scheduled(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"q": torch.from_numpy(self.q.copy()), "env_step": self.env_step, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if tuple(state["q"].shape) != self.q.shape:
            raise ValueError(f"the table has shape {tuple(state['q'].shape)}, this agent's {self.q.shape}")
        self.q = state["q"].numpy().copy()
        self.env_step, self.updates = state["env_step"], state["updates"]


class ValueIteration(Planner):
    """V(s) becomes the best of its backups until nothing changes (Sutton & Barto 2018, section 4.4)."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ValueIterationConfig,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.config = config

    def plan(self, table: TransitionTable) -> Iterator[dict[str, float]]:
        config = self.config
        values = np.zeros(len(self.q))
        for _ in range(config.horizon or config.max_sweeps):
            if config.iterate == "values":
                self.q = backup(table, values, config.gamma)
                before, values = values, self.q.max(1)
                delta = float(np.abs(values - before).max())
            else:
                earlier, self.q = self.q, backup(table, self.q.max(1), config.gamma)
                delta = float(np.abs(self.q - earlier).max())
            self.updates += 1
            yield {"delta": delta, "start_value": float(table.initial @ self.q.max(1))}
            if config.horizon is None and delta <= config.tolerance:
                break


class PolicyIteration(Planner):
    """Evaluate the greedy policy, make it greedy again, until it is stable (Sutton & Barto 2018, section 4.3)."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: PolicyIterationConfig,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.config = config

    def plan(self, table: TransitionTable) -> Iterator[dict[str, float]]:
        policy = self.q.argmax(1)
        values = np.zeros(len(self.q))
        for _ in range(self.config.max_sweeps):
            values = self._evaluate(table, policy, values)
            self.q = backup(table, values, self.config.gamma)
            # The old action stays unless another is better by more than rounding: equal ones could alternate for ever.
            kept = self.q[np.arange(len(policy)), policy] >= self.q.max(1) - 1e-9
            better = np.where(kept, policy, self.q.argmax(1))
            changed = int((better != policy).sum())
            policy = better
            self.updates += 1
            yield {"changed": float(changed), "start_value": float(table.initial @ values)}
            if not changed:
                break

    def _evaluate(self, table: TransitionTable, policy: np.ndarray, values: np.ndarray) -> np.ndarray:
        if self.config.evaluation == "exact":
            return evaluate_policy(table, policy, gamma=self.config.gamma)
        for _ in range(self.config.max_sweeps):
            before, values = values, backup(table, values, self.config.gamma)[np.arange(len(policy)), policy]
            if np.abs(values - before).max() <= self.config.tolerance:
                break
        return values


class PlanActor:
    """Acts greedily on a plan: the first of equally good actions."""

    def __init__(self, agent: Planner) -> None:
        self.agent = agent

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        assert isinstance(obs, Tensor)  # Discrete observations are one tensor
        state = obs.cpu().numpy() - agent.first_state
        q = agent.q[state]
        if action_mask is not None:
            q = np.where(action_mask.cpu().numpy(), q, -np.inf)
        return Acted(torch.from_numpy(q.argmax(1) + agent.first_action).to(obs.device))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing: the actor keeps no state."""
