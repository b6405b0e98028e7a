"""Weight penalties, weight decay and the max-norm constraint in an agent's updates, as its config asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.layers import penalties


class Regularised(Protocol):
    """The settings of a config."""

    @property
    def weight_penalty(self) -> str: ...
    @property
    def penalty_weight(self) -> float: ...
    @property
    def max_norm(self) -> float | None: ...
    @property
    def weight_decay(self) -> float: ...


def check(config: Regularised) -> None:
    """Raise ValueError for settings that are not allowed."""
    penalties.check_penalty(config.weight_penalty)
    if not 0.0 < config.penalty_weight < math.inf:
        raise ValueError(f"penalty_weight must be > 0, got {config.penalty_weight}")
    if config.max_norm is not None and not 0.0 < config.max_norm < math.inf:
        raise ValueError(f"max_norm must be > 0, got {config.max_norm}")
    if not 0.0 <= config.weight_decay < math.inf:
        raise ValueError(f"weight_decay must be >= 0, got {config.weight_decay}")


def counted(flat: FlatParameters) -> Tensor:
    """1 for weights, 0 for all other parameters; [P]."""
    chosen = {id(one) for _, one in penalties.weights(flat.module)}
    learned = [one for one in flat.module.parameters() if one.requires_grad]
    return flat.flatten([torch.full_like(one, float(id(one) in chosen)).detach() for one in learned])


class FlatPenalty:
    """`penalties.penalty` of flat parameters, with its gradient in closed form, for any way to learn."""

    def __init__(self, flat: FlatParameters, name: str, weight: float) -> None:
        self.flat, self.name, self.weight = flat, name, weight
        self.counts = counted(flat)

    def add_gradient(self) -> Tensor:
        """Add the gradient to the flat one; returns the penalty, []."""
        weights = self.flat.data * self.counts
        self.flat.grad.add_(penalties.slope(self.name, weights), alpha=self.weight)
        return self.weight * penalties.size(self.name, weights)


class Regulariser(NamedTuple):
    """What keeps weights small in an update; None for nothing."""

    penalty: FlatPenalty | None = None
    max_norm: float | None = None
    decay: float = 0.0


def regulariser(config: Regularised, flat: FlatParameters) -> Regulariser:
    """The penalty, the constraint and the decay of a config."""
    name = config.weight_penalty
    penalty = None if name == "none" else FlatPenalty(flat, name, config.penalty_weight)
    return Regulariser(penalty, config.max_norm, config.weight_decay)


def bounded(step: Callable[[], None], flat: FlatParameters, max_norm: float) -> Callable[[], None]:
    """A step of an optimizer, after which no unit's weights are longer than `max_norm`."""
    weights = [one for _, one in penalties.weights(flat.module)]

    def both() -> None:
        step()
        for weight in weights:
            penalties.bound_rows_(weight, max_norm)

    return both


def decayed(
    step: Callable[[], None], flat: FlatParameters, optimizer: torch.optim.Optimizer, decay: float
) -> Callable[[], None]:
    """A step of an optimizer, before which weights shrink by `decay` times their learning rate.

    Decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), for any optimizer.
    """
    shares = decay * counted(flat)
    parts = [
        (group, flat.data[start:end], shares[start:end])
        for group, spans in zip(optimizer.param_groups, flat.spans, strict=True)
        for start, end in spans
    ]

    def both() -> None:
        with torch.no_grad():
            for group, weights, share in parts:
                weights.sub_(weights * share * group["lr"])  # the rate may be a tensor, which `alpha` may not
        step()

    return both
