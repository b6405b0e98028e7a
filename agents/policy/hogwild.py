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
    """Flat parameters [P], the state of their optimizer and the network's buffers, in memory that all processes see."""

    parameters: Tensor
    statistics: dict[str, Tensor]
    buffers: tuple[Tensor, ...]
    """A network's buffers (a normalisation's running statistics)."""

    @staticmethod
    def of(weights: FlatParameters, name: str, optimizer: torch.optim.Optimizer) -> Shared:
        """An agent whose parameters are already shared; its optimizer continues in the shared state."""
        state = optimizer.state[weights.parameter]
        for key, initial in INITIAL[name].items():
            state[key] = state.get(key, initial(weights.data)).share_memory_()
        buffers = tuple(buffer.share_memory_() for buffer in weights.module.buffers())  # type: ignore[no-untyped-call]
        return Shared(weights.data, {key: state[key] for key in INITIAL[name]}, buffers)


@runtime_checkable
class SharingAgent(Protocol):
    """An agent whose updates can go to weights that several processes share."""

    weights: FlatParameters
    optimizer: torch.optim.Optimizer

    def follow(self, shared: Shared) -> None:
        """Send all further updates to the shared weights."""
        ...


class Follower:
    """Sends an agent's updates to shared parameters, with gradients at its own copy of them.

    Each update reads and writes them without locks, while others do too (Mnih et al. 2016, algorithm S3).
    """

    def __init__(self, weights: FlatParameters, shared: Shared, *, optimizer: str, eps: float | None) -> None:
        self.weights, self.shared = weights, shared
        for mine, theirs in zip(weights.module.buffers(), shared.buffers, strict=True):
            mine.data = theirs  # written by every worker's forward pass
        parameter = nn.Parameter(shared.parameters)
        parameter.grad = weights.grad
        self.optimizer = optimizers.build(optimizer, parameter, lr=0.0, eps=eps)
        self.optimizer.state[parameter].update(shared.statistics)
        self._step = optimizers.stepper(self.optimizer)
        self.pull()

    def step(self) -> None:
        self._step()
        self.pull()

    def pull(self) -> None:
        """Copy the shared parameters."""
        self.weights.data.copy_(self.shared.parameters)
