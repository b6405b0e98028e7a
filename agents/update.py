"""One update of a network: loss, gradient, clipping and optimizer step as one function of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gymnast.agents import optimizers
from gymnast.agents.base import Metrics
from gymnast.networks.flat import FlatParameters, clip_norm

Loss = Callable[[Any, Tensor | None], tuple[Tensor, Tensor, Metrics]]
"""From a batch (what the replay samples) and noise to loss [], error of each sample [B] and what is to be logged."""


class Update:
    """Learns from one batch after another."""

    def __init__(
        self,
        loss: Loss,
        weights: FlatParameters,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float | None,
        max_grad_value: float | None,
    ) -> None:
        self.loss, self.weights, self.optimizer = loss, weights, optimizer
        self.max_grad_norm, self.max_grad_value = max_grad_norm, max_grad_value
        self._step = optimizers.stepper(optimizer)

    def __call__(self, batch: Any, noise: Tensor | None, *, learning_rate: float) -> tuple[Tensor, Metrics]:
        """One step of the optimizer; the error of each sample [B], and the update's metrics."""
        loss, error, metrics = self.loss(batch, noise)
        grad = self.weights.grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.max_grad_value is not None:
            grad.clamp_(-self.max_grad_value, self.max_grad_value)
        if self.max_grad_norm is not None:
            metrics["grad_norm"] = clip_norm(grad, self.max_grad_norm)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self._step()
        return error, metrics
