"""Tabular agents that learn from experience: Q-learning, SARSA and kin (Sutton & Barto 2018, chapters 6, 7, 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gymnast.agents.tabular import exploration
from gymnast.agents.tabular.base import TableStep, TabularAgent
from gymnast.agents.tabular.config import ControlConfig, TabularConfig, TraceConfig, check_trace
from gymnast.agents.tabular.exploration import best, expectation, maximum, optimistic_maximum
from gymnast.agents.tabular.updates import Rates


@dataclass(frozen=True)
class QLearningConfig(TraceConfig):
    """Q-learning (Watkins 1989); with `trace_decay` Watkins's Q(lambda)."""

    bootstrap_bonus: bool = False
    """With exploration count, bootstrap from the maximum of Q + kappa / (1 + N) too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bootstrap_bonus and self.exploration != "count":
            raise ValueError(f"bootstrap_bonus needs exploration count, got {self.exploration!r}")


@dataclass(frozen=True)
class SarsaConfig(TraceConfig):
    """SARSA (Rummery & Niranjan 1994); with `trace_decay` SARSA(lambda)."""


@dataclass(frozen=True)
class ExpectedSarsaConfig(TraceConfig):
    """Expected SARSA (van Seijen et al. 2009)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exploration == "thompson":
            raise ValueError("expected-sarsa needs action probabilities, which exploration thompson does not have")


@dataclass(frozen=True)
class DoubleQLearningConfig(ControlConfig):
    """Double Q-learning (van Hasselt 2010)."""


@dataclass(frozen=True)
class NStepSarsaConfig(ControlConfig):
    """n-step SARSA (Sutton & Barto 2018, section 7.2)."""

    n_step: int = 4
    """Number of rewards in a return before it bootstraps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_step < 1:
            raise ValueError(f"n_step must be >= 1, got {self.n_step}")


@dataclass(frozen=True)
class TDConfig(TabularConfig):
    """TD(0), or TD(lambda), prediction of the values of a policy (Sutton 1988)."""

    policy: str = "uniform"
    """Policy that acts and whose values are learned: uniform, or a .npy file of probabilities [S, A]."""
    trace_decay: float = 0.0
    """Lambda of the eligibility traces; 0 switches them off."""
    trace: Literal["accumulating", "replacing"] = "accumulating"
    """Whether a visit adds 1 to a state's eligibility or sets it to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trace(self.trace_decay, self.trace)


class QLearning(TabularAgent):
    """Q(s, a) moves towards r + discount * max_a' Q(s', a') (Sutton & Barto 2018, eq. 6.8)."""

    config: QLearningConfig
    defaults = QLearningConfig()
    cuts_traces = True

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        q, counts = self._next_row(step, row)
        bonus = self.config.bootstrap_bonus
        next_value = optimistic_maximum(q, counts, self.config.kappa) if bonus else maximum(q)
        return self._update(step, row, next_value, rates)


class ExpectedSarsa(TabularAgent):
    """Q(s, a) moves towards r + discount * the mean of Q(s', .) under the policy (Sutton & Barto 2018, eq. 6.9)."""

    config: ExpectedSarsaConfig
    defaults = ExpectedSarsaConfig()

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        q, counts = self._next_row(step, row)
        explorer = self.explorer
        strength = explorer.strength(step.env_step)
        return self._update(step, row, expectation(explorer.kind, q, counts, strength, explorer.random_ties), rates)


class DoubleQLearning(TabularAgent):
    """A coin decides which of two tables moves, towards the other's value of its best action (van Hasselt 2010)."""

    tables = 2

    config: DoubleQLearningConfig
    defaults = DoubleQLearningConfig()

    def action_values(self, state: int) -> list[float]:
        return ((self.q[0, state] + self.q[1, state]) * 0.5).tolist()  # type: ignore[no-any-return]

    def _learning_draws(self, rows: int) -> list[list[float]]:
        return self.rng.random((rows, 2)).tolist()  # type: ignore[no-any-return]

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        table = 0 if draws[0] < 0.5 else 1
        own, counts = self._next_row(step, row, table)
        other, _ = self._next_row(step, row, 1 - table)
        next_value = other[best(exploration.GREEDY, own, counts, 0.0, self.explorer.random_ties, draws[1])]
        return self._update(step, row, next_value, rates, table)


class Sarsa(TabularAgent):
    """Q(s, a) moves towards r + discount * Q(s', a') once a' is taken (Sutton & Barto 2018, eq. 6.7).

    An episode that is cut off bootstraps from an action that the same policy draws in the final state, as the last step
    arrives: before the pending update that needs this step's action, and not after it as in the book. So every
    step draws once, at one place, whether updates are pending or not, and the compiled loop draws the same numbers.
    """

    config: SarsaConfig
    defaults = SarsaConfig()
    window_steps = 1

    def _learning_draws(self, rows: int) -> list[list[float]]:
        return self.draw(self.rng, rows)

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        return self._learn_window(step, row, rates, draws)


class NStepSarsa(TabularAgent):
    """Q(s, a) moves towards n rewards and Q of the next pair (Sutton & Barto 2018, eq. 7.4 and 7.5).

    An episode's last transitions learn from shorter returns; one that is cut off bootstraps as `Sarsa` does.
    """

    config: NStepSarsaConfig
    defaults = NStepSarsaConfig()

    @property
    def window_steps(self) -> int:  # type: ignore[override]
        return self.config.n_step

    def _learning_draws(self, rows: int) -> list[list[float]]:
        return self.draw(self.rng, rows)

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        return self._learn_window(step, row, rates, draws)


class TD(TabularAgent):
    """V(s) of a given policy moves towards r + discount * V(s') (Sutton & Barto 2018, eq. 6.2)."""

    config: TDConfig
    defaults = TDConfig()
    values_of_states = True

    def _prepare(self) -> None:
        self.policy = read_policy(self.config.policy, self.states.size, self.num_actions)

    def action_values(self, state: int) -> list[float]:
        return self.policy[state % self.states.size].tolist()  # type: ignore[no-any-return]

    def q_table(self) -> np.ndarray:
        raise ValueError("td learns state values, not action values; see value_table")

    def value_table(self) -> np.ndarray:
        """V, float64 [S] ([horizon, S] under a finite horizon)."""
        values = self.q[0, :, 0].reshape(self.stages, self.states.size)
        return np.array(values if self.config.horizon else values[0])

    def _entry(self, pair: int) -> int:
        return pair // self.num_actions

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        return self._update(step, row, float(self.q[0, step.next_state[row], 0]), rates)


def read_policy(policy: str, states: int, actions: int) -> np.ndarray:
    """Probabilities [S, A] of a given policy; ValueError if the file does not contain them."""
    if policy == "uniform":
        return np.full((states, actions), 1.0 / actions)
    try:
        table = np.asarray(np.load(policy, allow_pickle=False), np.float64)
    except (OSError, ValueError) as error:
        raise ValueError(f"policy must be uniform or a .npy file, got {policy!r}: {error}") from None
    if table.shape != (states, actions):
        raise ValueError(f"policy {policy} must have shape ({states}, {actions}), got {table.shape}")
    if (table < 0.0).any() or not np.allclose(table.sum(1), 1.0):
        raise ValueError(f"policy {policy} must contain probabilities that sum to 1 in each row")
    return table
