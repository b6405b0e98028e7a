"""Periodic resets: the head begins anew and the backbone half-way, while the replay stays (Nikishin et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from gymnast.agents.auxiliary import Auxiliary
from gymnast.agents.base import restore_generator
from gymnast.agents.optim import optimizers
from gymnast.networks.build import Backbone
from gymnast.networks.heads.q import QNetwork


class ResetConfig(Protocol):
    """The settings of resets."""

    @property
    def reset_period(self) -> int: ...
    @property
    def reset_keep(self) -> float: ...
    @property
    def optimizer(self) -> str: ...


def check_resets(config: ResetConfig) -> None:
    """Raise ValueError for an optimizer whose statistics cannot begin anew."""
    if config.reset_period and config.optimizer not in optimizers.FROM_ZERO:
        raise ValueError(
            f"reset_period needs one of the optimizers {', '.join(optimizers.FROM_ZERO)}, got {config.optimizer}"
        )


class Resets:
    """Redraws networks every `period` env steps.

    A reset replaces the head's weights by new ones, and the backbone's by `keep` times their own plus 1 - `keep` times
    new ones (shrink and perturb, Ash & Adams 2020, as in SR-SPR, D'Oro et al. 2023). Online and target network get
    different new weights. An auxiliary loss's head is redrawn too, its transition model as the backbone is. The
    optimizers' statistics begin anew. Running statistics and priors stay.
    """

    def __init__(
        self, period: int, keep: float, make: Callable[[torch.Generator], QNetwork], generator: torch.Generator
    ) -> None:
        self.period, self.keep, self.make, self.generator = period, keep, make, generator
        self.done = 0
        """Resets so far, and those that were skipped over."""

    def __call__(
        self,
        env_step: int,
        networks: tuple[QNetwork, QNetwork],
        optimizer: torch.optim.Optimizer,
        auxiliary: Auxiliary | None = None,
    ) -> bool:
        """Reset both networks if a period has passed; returns whether it did."""
        if env_step // self.period == self.done:
            return False
        self.done = env_step // self.period
        for network in networks:
            self._redraw(network)
        optimizers.forget(optimizer)
        if auxiliary is not None:
            auxiliary.redraw(self.keep, self.generator)
        return True

    @torch.no_grad()
    def _redraw(self, network: QNetwork) -> None:
        fresh = dict(self.make(self.generator).named_parameters())
        for name, parameter in network.named_parameters():
            if name.startswith("prior."):
                continue
            new = fresh[name].to(parameter.device)
            if name.startswith("head."):
                parameter.copy_(new)
            else:
                parameter.lerp_(new, 1.0 - self.keep)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        restore_generator(self.generator, state["generator"])


def build_resets(
    config: ResetConfig, backbone: Backbone, make: Callable[[torch.Generator], QNetwork], generator: torch.Generator
) -> Resets | None:
    """The resets that a config asks for, if any.

    Raises:
        ValueError: a backbone that is given as a module, which cannot be drawn anew.
    """
    if not config.reset_period:
        return None
    if isinstance(backbone, nn.Module):
        raise ValueError("reset_period needs a backbone by name or by class: a module's weights cannot be drawn anew")
    return Resets(config.reset_period, config.reset_keep, make, generator)
