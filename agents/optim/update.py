"""One update of a network: loss, gradient, clipping and optimizer step as one function of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gymnast.agents.base import LearningError, Metrics
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.compiled import Compiled
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.regularise import Regulariser, bounded, decayed
from gymnast.allocator import keep_freed_pages
from gymnast.networks.fast.flat import FlatParameters, clip_norm
from gymnast.networks.modes import depends_on_mode, learning

Loss = Callable[[Any, Tensor | None], tuple[Tensor, Tensor, Metrics]]
"""Maps a batch (a sample of the replay) and noise to loss [], error of each sample [B] and metrics."""
Gradient = Callable[[Any, Tensor | None], tuple[Tensor, Metrics]]
"""Writes a loss's gradient into the flat one; returns the error of each sample [B] and metrics."""


class Update:
    """Learns from one batch after another; the host reads nothing in it.

    `gradient` writes the gradient of the loss, if there is a faster way than autograd.

    With `compile` everything before the optimizer's step, which is a separate kernel, is one compiled function.
    Its gradient is a transform of the loss as a function of the weights, for a compiler sees no `backward`.

    A `regulariser`'s penalty is part of the gradient that is clipped, and not of the loss; its `decay` shrinks the
    weights before each step, and its `max_norm` bounds each unit's weights after it.

    A network that depends on its mode is in training mode while the gradient is computed, and only then.
    """

    def __init__(
        self,
        loss: Loss,
        weights: FlatParameters,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float | None,
        max_grad_value: float | None,
        compile: bool = False,
        gradient: Gradient | None = None,
        regulariser: Regulariser = Regulariser(),  # noqa: B008 (immutable)
    ) -> None:
        if weights.data.device.type == "cpu":
            keep_freed_pages()
        self.loss, self.weights, self.optimizer = loss, weights, optimizer
        self.max_grad_norm, self.max_grad_value = max_grad_norm, max_grad_value
        self._penalty = regulariser.penalty
        self._step = optimizers.stepper(optimizer)
        if regulariser.decay:
            self._step = decayed(self._step, weights, optimizer, regulariser.decay)
        if regulariser.max_norm is not None:
            self._step = bounded(self._step, weights, regulariser.max_norm)
        self._as_module = _LossOf(weights.module, loss)
        self._parameters = {
            f"network.{name}": parameter.detach()
            for name, parameter in weights.module.named_parameters()
            if parameter.requires_grad
        }
        self._gradient = gradient
        self.average: Callable[[Tensor, Metrics, Tensor], None] | None = None
        """Makes the gradient and the metrics of a share of a minibatch, with its weights [B], those of the whole."""
        self._learn = self._by_backward if gradient is None else self._by_gradient
        if compile:
            self._learn = Compiled(self._by_transform, otherwise=self._by_backward)
        if depends_on_mode(weights.module):
            self._in_evaluation_mode, self._learn = self._learn, self._in_training_mode

    def __call__(self, batch: Any, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        """One step of the optimizer; returns the error of each sample [B] and the update's metrics."""
        error, metrics = self._learn(batch, noise)
        self._step()
        return error, metrics

    def update_parts(self) -> Iterator[Part]:
        """Compiled, both passes are one function; a `gradient` is what it calls, and a remainder of both."""
        yield Part(self, "_step", "optimizer")
        learn = "_in_evaluation_mode" if self._learn == self._in_training_mode else "_learn"
        if isinstance(getattr(self, learn), Compiled):
            yield Part(self, learn, "forward+backward")
        elif self._gradient is not None:
            yield Part(self, "_gradient", "forward+backward")
        else:
            yield Part(self, "loss", "forward")

    def step_by(self, step: Callable[[], None]) -> None:
        """Take the optimizer's steps in another way."""
        self._step = step

    def _by_backward(self, batch: Any, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        loss, error, metrics = self.loss(batch, noise)
        self.weights.added.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        self._finish(batch, metrics)
        return error, metrics

    def _by_gradient(self, batch: Any, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        assert self._gradient is not None
        error, metrics = self._gradient(batch, noise)
        self._finish(batch, metrics)
        return error, metrics

    def _by_transform(self, batch: Any, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        def objective(parameters: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Metrics]]:
            loss, error, metrics = torch.func.functional_call(self._as_module, parameters, (batch, noise))
            return loss, (error, metrics)

        grads, (_, (error, metrics)) = torch.func.grad_and_value(objective, has_aux=True)(self._parameters)
        self.weights.grad.copy_(self.weights.flatten(grads.values()))
        self._finish(batch, metrics)
        return error, metrics

    def _in_training_mode(self, batch: Any, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        network = self.weights.module
        learning(network)
        try:
            return self._in_evaluation_mode(batch, noise)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):  # torch's BatchNorm
                raise LearningError("the network's BatchNorm cannot learn from a batch of one row") from error
            raise
        finally:
            network.eval()

    def _finish(self, batch: Any, metrics: Metrics) -> None:
        """Average the gradient of shares, add the penalty's, and clip the whole."""
        grad = self.weights.grad
        if self.average is not None:
            self.average(grad, metrics, batch.weight)
        if self._penalty is not None:
            metrics["penalty"] = self._penalty.add_gradient()
        if self.max_grad_value is not None:
            grad.clamp_(-self.max_grad_value, self.max_grad_value)
        if self.max_grad_norm is not None:
            metrics["grad_norm"] = clip_norm(grad, self.max_grad_norm)


class _LossOf(nn.Module):
    """A loss as a module that holds the network whose weights it is a function of."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, batch: Any, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        return self.loss(batch, noise)
