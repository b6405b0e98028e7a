"""Tabular agents that learn a model and plan with it (Sutton & Barto 2018, chapter 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gymnast.agents.schedules import ScheduleLike
from gymnast.agents.tabular.base import TableStep, TabularAgent
from gymnast.agents.tabular.config import ControlConfig
from gymnast.agents.tabular.exploration import maximum
from gymnast.agents.tabular.model import list_row, make_model, plan_step, remember
from gymnast.agents.tabular.sweeping import make_queue, sweep_step, take_in
from gymnast.agents.tabular.updates import Rates


@dataclass(frozen=True)
class ModelBasedConfig(ControlConfig):
    """Settings of tabular agents that learn a model."""

    objective: Literal["discounted", "finite-horizon"] = "discounted"
    """Maximise the discounted return, or that of the first `horizon` steps, with one table per remaining step."""
    planning_steps: int = 10
    """Updates from the model after each step."""
    model_outcomes: int = 1
    """Latest outcomes of each state and action that the model keeps: 1 suits deterministic environments."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in ("discounted", "finite-horizon"):
            raise ValueError(f"objective must be discounted or finite-horizon, got {self.objective}")
        for name, least in (("planning_steps", 0), ("model_outcomes", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class DynaQConfig(ModelBasedConfig):
    """Dyna-Q (Sutton 1990); with `time_bonus` Dyna-Q+."""

    time_bonus: float = 0.0
    """Kappa of Dyna-Q+: in planning, an action untried for t steps earns kappa * sqrt(t) more. 0 is Dyna-Q."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.time_bonus < float("inf"):
            raise ValueError(f"time_bonus must be >= 0, got {self.time_bonus}")


@dataclass(frozen=True)
class PrioritizedSweepingConfig(ModelBasedConfig):
    """Prioritized sweeping (Moore & Atkeson 1993; Peng & Williams 1993)."""

    alpha: ScheduleLike = 1.0
    """Step size of the backups: a number or a schedule over env steps."""
    model_outcomes: int = 16
    """Latest outcomes of each state and action that the model keeps; a backup is the mean over them."""
    threshold: float = 1e-4
    """Smallest change of a value for which a pair is put into the queue."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.threshold < float("inf"):
            raise ValueError(f"threshold must be >= 0, got {self.threshold}")


class ModelBasedAgent(TabularAgent):
    """The part that both agents share: a model of the outcomes of each pair."""

    config: ModelBasedConfig

    def _prepare(self) -> None:
        self.model = make_model(self.q.shape[1], self.num_actions, self.config.model_outcomes)

    def _table_arrays(self) -> dict[str, np.ndarray]:
        return super()._table_arrays() | {f"model_{name}": part for name, part in self.model._asdict().items()}


class DynaQ(ModelBasedAgent):
    """Q-learning from each transition, and from `planning_steps` transitions that the model remembers."""

    config: DynaQConfig
    defaults = DynaQConfig()

    def _learning_draws(self, rows: int) -> list[list[float]]:
        return self.rng.random((rows, 3 * self.config.planning_steps)).tolist()  # type: ignore[no-any-return]

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        config, q, model = self.config, self.q[0], self.model
        values, _ = self._next_row(step, row)
        total, updates = self._update(step, row, maximum(values), rates)
        successor, discount = int(step.next_state[row]), float(step.discount[row])
        remember(model, int(step.pair[row]), float(step.reward[row]), discount, successor)
        if config.time_bonus and discount:
            list_row(model, successor, self.allowed, True)
        for index in range(0, len(draws), 3):
            chances = draws[index : index + 3]
            total += float(
                plan_step(q, model, self.allowed, True, rates.alpha, config.gamma, config.time_bonus, *chances)
            )
        return total, updates + config.planning_steps


class PrioritizedSweeping(ModelBasedAgent):
    """Backs up the pairs whose values would change most, and then those that lead to them."""

    config: PrioritizedSweepingConfig
    defaults = PrioritizedSweepingConfig()

    def _prepare(self) -> None:
        super()._prepare()
        self.queue = make_queue(self.q.shape[1], len(self.model.tried), self.config.model_outcomes)

    def _table_arrays(self) -> dict[str, np.ndarray]:
        return super()._table_arrays() | {f"queue_{name}": part for name, part in self.queue._asdict().items()}

    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        config, q, model, queue = self.config, self.q[0], self.model, self.queue
        pair, reward, discount = int(step.pair[row]), float(step.reward[row]), float(step.discount[row])
        take_in(
            q, model, queue, pair, reward, discount, int(step.next_state[row]), self.allowed, True, config.threshold
        )
        total, updates = 0.0, 0
        while queue.size[0] > 0 and updates < config.planning_steps:
            total += float(sweep_step(q, model, queue, self.allowed, True, rates.alpha, config.threshold))
            updates += 1
        return total, updates
