"""Weights and an optimizer's statistics that several processes update at once, without locks (Recht et al. 2011)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gymnast.agents.optim import optimizers
from gymnast.networks.fast.flat import FlatParameters

INITIAL: dict[str, dict[str, Callable[[Tensor], Tensor]]] = {
    "a3c-rmsprop": {"square": torch.ones_like},
    "adam": {"step": lambda like: torch.zeros(()), "exp_avg": torch.zeros_like, "exp_avg_sq": torch.zeros_like},
    "sgd": {},
}
"""The initial state of an optimizer whose statistics can be shared."""


@dataclass(frozen=True)
class Shared:
    """Flat parameters [P], their optimizer's state and the rest of the network, in memory that all processes see."""

    parameters: Tensor
    statistics: list[dict[str, Tensor]]
    """The state of each of the optimizer's parameters, in its order."""
    rest: tuple[Tensor, ...]
    """The network's buffers (a normalisation's running statistics) and its frozen parameters."""

    @staticmethod
    def of(weights: FlatParameters, name: str, optimizer: torch.optim.Optimizer) -> Shared:
        """An agent whose parameters are already shared; its optimizer continues in the shared state."""
        statistics = []
        for parameter in _parameters(optimizer):
            state = optimizer.state[parameter]
            for key, initial in INITIAL[name].items():
                state[key] = state.get(key, initial(parameter.data)).share_memory_()
            statistics.append({key: state[key] for key in INITIAL[name]})
        rest = tuple(part.share_memory_() for part in rest_of(weights.module))  # type: ignore[no-untyped-call]
        return Shared(weights.data, statistics, rest)


@runtime_checkable
class SharingAgent(Protocol):
    """An agent whose updates can go to weights that several processes share."""

    weights: FlatParameters
    optimizer: torch.optim.Optimizer

    def follow(self, shared: Shared) -> None:
        """Send all further updates to the shared weights."""
        ...

    def step_by(self, step: Callable[[], None]) -> None:
        """Call this, once the gradient is computed, in place of the optimizer's step."""
        ...


class Follower:
    """Sends an agent's updates to shared parameters, with gradients at its own copy of them.

    Each update reads and writes them without locks, while others do too (Mnih et al. 2016, algorithm S3).
    """

    def __init__(self, weights: FlatParameters, shared: Shared, *, optimizer: str, eps: float | None) -> None:
        self.weights, self.shared = weights, shared
        for mine, theirs in zip(rest_of(weights.module), shared.rest, strict=True):
            mine.data = theirs.data  # buffers are written by every worker's forward pass
        self.optimizer = optimizers.build_groups(optimizer, weights.views(shared.parameters), lr=0.0, eps=eps)
        for parameter, state in zip(_parameters(self.optimizer), shared.statistics, strict=True):
            self.optimizer.state[parameter].update(state)
        self._step = optimizers.stepper(self.optimizer)
        self.pull()

    def step(self) -> None:
        self._step()
        self.pull()

    def pull(self) -> None:
        """Copy the shared parameters."""
        self.weights.data.copy_(self.shared.parameters)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def rest_of(module: nn.Module) -> list[Tensor]:
    """The parts of a network that its optimizer does not move."""
    return [*module.buffers(), *(parameter for parameter in module.parameters() if not parameter.requires_grad)]
