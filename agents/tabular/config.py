"""The options that tabular agents share: objective, exploration, discretisation and traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from gymnast.agents.schedules import Schedule, ScheduleLike, schedule
from gymnast.agents.tabular import exploration


@dataclass(frozen=True)
class TabularConfig:
    """Settings of every tabular agent."""

    alpha: ScheduleLike = 0.1
    """Step size: a number or a schedule over env steps."""
    gamma: float = 0.99
    """Discount per step; the average-reward objective has none."""
    objective: Literal["discounted", "finite-horizon", "average-reward"] = "discounted"
    """Maximise the discounted return, the return of the first `horizon` steps (with one table per remaining step), or
    the reward per step, counting the end of an episode as a step to the first state of the next one."""
    horizon: int | None = None
    """Steps counted by the finite-horizon objective."""
    average_step: float = 0.1
    """Step size of the average reward, as a multiple of alpha."""
    initial_q: float = 0.0
    """Initial value of every entry; a high value explores by optimism."""
    action_masks: bool = True
    """Act and bootstrap only with allowed actions, if the environment provides action masks."""
    bins: tuple[int, ...] = (10,)
    """Bins of each Box dimension of the observation, or one number for all dimensions."""
    low: tuple[float, ...] = ()
    """Lower bounds of the Box dimensions, one for all or one each, instead of the space's own."""
    high: tuple[float, ...] = ()
    """Upper bounds of the Box dimensions, one for all or one each, instead of the space's own."""

    def __post_init__(self) -> None:
        schedule(self.alpha, name="alpha", high=1.0)
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma must be between 0 and 1, got {self.gamma}")
        if self.objective not in ("discounted", "finite-horizon", "average-reward"):
            raise ValueError(f"objective must be discounted, finite-horizon or average-reward, got {self.objective!r}")
        if (self.horizon is not None) != (self.objective == "finite-horizon"):
            raise ValueError(
                f"horizon needs objective finite-horizon and vice versa, got {self.horizon} and {self.objective}"
            )
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon must be >= 1, got {self.horizon}")
        if not self.average_step > 0.0:
            raise ValueError(f"average_step must be > 0, got {self.average_step}")
        if not np.isfinite(self.initial_q):
            raise ValueError(f"initial_q must be finite, got {self.initial_q}")


@dataclass(frozen=True)
class ControlConfig(TabularConfig):
    """Settings of every tabular agent that explores."""

    exploration: Literal["epsilon-greedy", "boltzmann", "count", "ucb", "thompson", "greedy"] = "epsilon-greedy"
    """How training explores. With N the visits of a state and action, count maximises Q + kappa / (1 + N), ucb
    maximises Q + kappa * sqrt(ln N(s) / N), and thompson maximises a draw from Normal(Q, kappa**2 / (1 + N))."""
    epsilon: ScheduleLike = 0.1
    """Probability of a random action: a number or a schedule over env steps."""
    temperature: ScheduleLike = 1.0
    """Temperature of boltzmann: a number or a schedule over env steps."""
    kappa: float = 1.0
    """Exploration strength of count, ucb and thompson."""
    ties: Literal["random", "first"] = "random"
    """How training breaks ties between equally good actions; evaluation takes the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exploration not in exploration.CODES:
            raise ValueError(f"exploration must be one of {', '.join(exploration.CODES)}, got {self.exploration!r}")
        schedule(self.epsilon, name="epsilon", high=1.0)
        schedule(self.temperature, name="temperature", low=1e-8)
        if not self.kappa >= 0.0:
            raise ValueError(f"kappa must be >= 0, got {self.kappa}")
        if self.ties not in ("random", "first"):
            raise ValueError(f"ties must be random or first, got {self.ties!r}")


@dataclass(frozen=True)
class TraceConfig(ControlConfig):
    """Settings of every agent with eligibility traces."""

    trace_decay: float = 0.0
    """Lambda of the eligibility traces; 0 switches them off."""
    trace: Literal["accumulating", "replacing"] = "replacing"
    """Whether a visit adds 1 to a pair's eligibility or sets it to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trace(self.trace_decay, self.trace)


@runtime_checkable
class TracedConfig(Protocol):
    """A config of an agent that may have eligibility traces."""

    @property
    def trace_decay(self) -> float: ...
    @property
    def trace(self) -> str: ...


def check_trace(trace_decay: float, trace: str) -> None:
    """Raise ValueError for invalid trace options."""
    if not 0.0 <= trace_decay <= 1.0:
        raise ValueError(f"trace_decay must be between 0 and 1, got {trace_decay}")
    if trace not in ("accumulating", "replacing"):
        raise ValueError(f"trace must be accumulating or replacing, got {trace!r}")


@dataclass(frozen=True)
class Explorer:
    """How an agent's exploring actors choose: a code, its strength over the env steps, and how ties are broken."""

    kind: int
    strength: Schedule
    random_ties: bool
    name: str | None  # under which the strength is logged

    @classmethod
    def of(cls, config: TabularConfig) -> Explorer:
        """The exploration that a config describes; a config without one follows a given policy."""
        if not isinstance(config, ControlConfig):
            return cls(exploration.POLICY, schedule(0.0, name="epsilon"), False, None)
        like: tuple[ScheduleLike, str | None] = {
            "epsilon-greedy": (config.epsilon, "epsilon"),
            "boltzmann": (config.temperature, "temperature"),
        }.get(config.exploration, (config.kappa, None))
        strength = schedule(like[0], name=like[1] or "kappa")
        return cls(exploration.CODES[config.exploration], strength, config.ties == "random", like[1])
