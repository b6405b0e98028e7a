"""How far the targets of a DQN look ahead: many rewards and a small discount at first, fewer and a larger one later."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

LAST = 3
"""Rewards that a target sums in the end, where the config does not say."""


class Horizon(NamedTuple):
    """What a target is made of."""

    n: int
    """Rewards that it sums."""
    gamma: float
    """Discount per step."""


class HorizonConfig(Protocol):
    """The settings of an annealed horizon."""

    @property
    def n_step(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def anneal_steps(self) -> int: ...
    @property
    def final_n_step(self) -> int | None: ...
    @property
    def final_gamma(self) -> float: ...
    @property
    def reset_period(self) -> int: ...
    @property
    def recurrent(self) -> str: ...


def check_horizon(config: HorizonConfig) -> None:
    """Raise ValueError for settings that contradict each other."""
    if not config.anneal_steps:
        return
    if config.recurrent != "none":
        raise ValueError(f"anneal_steps needs recurrent none, got {config.recurrent}")
    if config.final_n_step is not None and config.final_n_step > config.n_step:
        raise ValueError(f"final_n_step must be <= n_step {config.n_step}, got {config.final_n_step}")
    for name in ("gamma", "final_gamma"):
        if not 0.0 < (value := getattr(config, name)) < 1.0:
            raise ValueError(f"{name} must be > 0 and < 1 with anneal_steps, got {value}")


def horizon(config: HorizonConfig, env_step: int, begun: int) -> Horizon:
    """The horizon at an env step, of learning that began at the env step `begun`.

    It moves in `anneal_steps` env steps, from the beginning and again from each reset: n and 1 - gamma exponentially, n
    rounded to a whole number (BBF, Schwarzer et al. 2023).
    """
    if not config.anneal_steps:
        return Horizon(config.n_step, config.gamma)
    reset = env_step // config.reset_period * config.reset_period if config.reset_period else 0
    share = min(max(env_step - max(reset, begun), 0) / config.anneal_steps, 1.0)
    last = min(config.n_step, LAST) if config.final_n_step is None else config.final_n_step
    n = round(_between(config.n_step, last, share))
    return Horizon(n, 1.0 - _between(1.0 - config.gamma, 1.0 - config.final_gamma, share))


def _between(first: float, last: float, share: float) -> float:
    """From `first` to `last` by equal factors."""
    return math.exp((1.0 - share) * math.log(first) + share * math.log(last))
