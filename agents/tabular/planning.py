"""Agents that plan on a known transition table: value iteration and policy iteration.

The mathematics is in `agents/tabular/dynamic_programming.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, HostAgent, LearningError, Metrics
from gymnast.agents.prediction import Predicts
from gymnast.agents.tabular.discretize import States
from gymnast.agents.tabular.dynamic_programming import (
    MAX_SWEEPS,
    backup,
    evaluate_policy,
    greedy_policy,
    optimal_q,
    policy_model,
    solve,
)
from gymnast.agents.tabular.greedy import GreedyTable
from gymnast.envs.step import Obs, Step, TransitionTable

__all__ = [
    "PolicyIteration",
    "PolicyIterationConfig",
    "ValueIteration",
    "ValueIterationConfig",
    "evaluate_policy",
    "optimal_q",
]


@dataclass(frozen=True)
class PlanningConfig:
    """Settings of every planning agent."""

    gamma: float = 0.99
    """Discount per step."""
    tolerance: float = 1e-10
    """Stop once no value changes by more than this in a sweep."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma must be between 0 and 1, got {self.gamma}")
        if not self.tolerance > 0.0:
            raise ValueError(f"tolerance must be > 0, got {self.tolerance}")


@dataclass(frozen=True)
class ValueIterationConfig(PlanningConfig):
    """Value iteration (Bellman 1957)."""

    iterate: Literal["values", "q-values"] = "values"
    """Sweep over state values or action values; tolerance applies to these."""
    horizon: int | None = None
    """Plan backwards for this many steps instead of an infinite horizon."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterate not in ("values", "q-values"):
            raise ValueError(f"iterate must be values or q-values, got {self.iterate!r}")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon must be >= 1, got {self.horizon}")


@dataclass(frozen=True)
class PolicyIterationConfig(PlanningConfig):
    """Policy iteration (Howard 1960)."""

    evaluation: Literal["exact", "iterative"] = "exact"
    """Evaluate each policy by a linear solve, or by sweeps until tolerance is met."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluation not in ("exact", "iterative"):
            raise ValueError(f"evaluation must be exact or iterative, got {self.evaluation!r}")


class PlanningAgent(Predicts, HostAgent, ABC):
    """Base of planning agents: they act greedily on their plan and learn nothing from experience."""

    config: PlanningConfig
    defaults: ClassVar[PlanningConfig]

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        for name, space in (("observations", observation_space), ("actions", action_space)):
            if not isinstance(space, gym.spaces.Discrete):
                raise ValueError(f"planning needs Discrete {name}, got {type(space).__name__}; see list agents")
        self.config = self.defaults if config is None else config
        self.observation_space, self.action_space = observation_space, action_space
        self.states = States(observation_space)
        self.device = torch.device(device)
        self.first_action = int(action_space.start)  # type: ignore[attr-defined]
        self.q = np.zeros((self.stages, self.states.size, int(action_space.n)))  # type: ignore[attr-defined]
        self.env_step = 0
        self.updates = 0

    @property
    def stages(self) -> int:
        """Tables of the plan: one, or one for each step of a horizon."""
        return 1

    @abstractmethod
    def plan(self, table: TransitionTable) -> Iterator[dict[str, float]]:
        """Plan, yielding one item per sweep, with the largest change of a value as `delta`."""

    def _sweep(self, delta: float) -> dict[str, float]:
        self.updates += 1
        return {"delta": delta, "sweep": float(self.updates)}

    def q_table(self) -> np.ndarray:
        """Q, float64 [S, A] ([horizon, S, A] under a horizon, the first step first)."""
        return np.array(self.q if len(self.q) > 1 else self.q[0])

    def greedy_policy(self) -> GreedyTable:
        """The planned action as a module; see `ExportableAgent`. The planned action's value becomes the largest."""
        table = np.where(greedy_policy(self.q) > 0.0, self.q.max(-1, keepdims=True), self.q)
        rows = table.reshape(-1, table.shape[-1])
        return GreedyTable(self.states, rows, first_action=self.first_action, stages=len(table))

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> PlanningActor:
        """An actor that takes the first best action; planned policies do not explore."""
        return PlanningActor(self, num_envs)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        return 0

    def learn(self) -> Metrics:
        """No-op: planning learns from the table, in `plan`."""
        return {}

    def scheduled(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"q": torch.from_numpy(self.q.copy()), "env_step": self.env_step, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["q"].shape != self.q.shape:
            raise ValueError(
                f"the checkpoint's table has shape {tuple(state['q'].shape)}, this agent's has {self.q.shape}"
            )
        self.q[...] = state["q"].numpy()
        self.env_step, self.updates = state["env_step"], state["updates"]


class PlanningActor:
    """Acts greedily on a plan; under a horizon it counts the steps of each episode."""

    def __init__(self, agent: PlanningAgent, num_envs: int) -> None:
        self.agent = agent
        self.clock = np.zeros(num_envs, np.int64)

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        self.clock = np.where(start.cpu().numpy(), 0, np.minimum(self.clock + 1, len(agent.q) - 1))
        q = agent.q[self.clock, agent.states.index(obs)]  # [N, A]
        action = greedy_policy(q).argmax(-1) + agent.first_action
        return Acted(torch.from_numpy(action).to(agent.device))

    def state_dict(self) -> dict[str, Any]:
        return {"clock": torch.from_numpy(self.clock.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clock = state["clock"].numpy().copy()


class ValueIteration(PlanningAgent):
    """Sets v(s) to max_a sum p (r + gamma v(s')) for all states at once until it converges (S&B 2018, eq. 4.10)."""

    config: ValueIterationConfig
    defaults = ValueIterationConfig()

    @property
    def stages(self) -> int:
        return self.config.horizon or 1

    def plan(self, table: TransitionTable) -> Iterator[dict[str, float]]:
        config = self.config
        old = np.zeros_like(self.q[0])
        for sweep in range(config.horizon or MAX_SWEEPS):
            q = backup(table, old.max(1), config.gamma)
            difference = q - old if config.iterate == "q-values" else q.max(1) - old.max(1)
            delta, old = float(np.abs(difference).max()), q
            self.q[-1 - sweep if config.horizon else 0] = q
            yield self._sweep(delta)
            if config.horizon is None and delta <= config.tolerance:
                return
        if config.horizon is None:
            raise LearningError(f"values do not converge at gamma {config.gamma:g}; use a gamma below 1 or a horizon")


class PolicyIteration(PlanningAgent):
    """Evaluates the policy and makes it greedy until it no longer changes (Sutton & Barto 2018, section 4.3)."""

    config: PolicyIterationConfig
    defaults = PolicyIterationConfig()

    def plan(self, table: TransitionTable) -> Iterator[dict[str, float]]:
        states, actions = self.q[0].shape
        policy = np.full((states, actions), 1.0 / actions)  # a policy that ends episodes wherever any policy can
        values = np.zeros(states)
        while True:
            new = self._evaluate(table, policy, values)
            self.q[0] = backup(table, new, self.config.gamma)
            delta, values = float(np.abs(new - values).max()), new
            yield self._sweep(delta)
            current = (policy * self.q[0]).sum(1)
            better = self.q[0].max(1) > current + self.config.tolerance * (1.0 + np.abs(current))
            undecided = policy.max(1) < 1.0
            if not (better | undecided).any():
                return
            policy = np.where((better | undecided)[:, None], greedy_policy(self.q[0]), policy)

    def _evaluate(self, table: TransitionTable, policy: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values of a policy, exactly or by sweeps that start from the previous policy's values."""
        reward, onward = policy_model(table, policy)
        if self.config.evaluation == "exact":
            return solve(onward, reward, self.config.gamma)
        for _ in range(MAX_SWEEPS):
            new = reward + self.config.gamma * onward @ values
            settled = float(np.abs(new - values).max()) <= self.config.tolerance
            values = new
            if settled:
                return values
        raise LearningError(f"a policy's values do not converge at gamma {self.config.gamma:g}; use a gamma below 1")
