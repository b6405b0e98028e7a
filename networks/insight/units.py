"""The units of a network's layers: what they put out, and how many of them do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gymnast.networks.layers.activations import CReLU, Maxout, PReLU
from gymnast.networks.layers.noisy import NoisyLinear
from gymnast.networks.world_models.layers import BlockLinear

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, NoisyLinear)
"""Layers whose outputs are units."""
OTHERS = (nn.ConvTranspose2d, BlockLinear)
"""Layers of weights that are not recorded; an activation after one of them is not that of the layer before it."""
MODULES = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.SELU, nn.Softplus, nn.PReLU),
    *(CReLU, Maxout, PReLU),
)
"""Activations that are modules."""
FUNCTIONS = {
    *(torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu, functional.relu_),
    *(torch.tanh, Tensor.tanh, functional.tanh, torch.sigmoid, Tensor.sigmoid, functional.sigmoid),
    *(functional.elu, functional.gelu, functional.silu, functional.leaky_relu, functional.selu, functional.softplus),
}
"""Activations that are functions."""


@dataclass
class Layer:
    """One call of a layer of weights."""

    name: str
    """Its path in the network, such as `backbone.convolutions.0`."""
    output: Tensor
    """[B, U] or [B, C, ...], before normalisation and activation."""
    active: Tensor
    """After the first activation that follows; the output itself if none does before the next layer."""
    activated: bool = False

    @property
    def units(self) -> int:
        """Units, or channels."""
        return self.output.shape[1]


@dataclass
class Recording:
    """The layers that a network has called, in their order; of a layer that was called twice the first call."""

    layers: dict[str, Layer] = field(default_factory=dict)
    last: Layer | None = None

    def called(self, name: str, output: Tensor) -> None:
        """A layer has been called."""
        self.last = None
        if name not in self.layers:
            kept = output.clone()  # activations in place would change it
            self.last = self.layers[name] = Layer(name, kept, kept)

    def passed(self) -> None:
        """A layer that is not recorded has been called."""
        self.last = None

    def activated(self, output: Tensor) -> None:
        """An activation has been called; it belongs to the layer before it."""
        if self.last is not None and output.dim() >= 2:
            self.last.active, self.last.activated = output, True
            self.last = None


class _Functions(TorchFunctionMode):
    """Reports the results of activations that are functions."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func in FUNCTIONS:
            self.recording.activated(result)
        return result


@contextmanager
def recording(network: nn.Module) -> Iterator[Recording]:
    """Record the outputs of all layers of weights that the network calls in this context, with their gradients."""
    found, handles = Recording(), []
    for name, module in network.named_modules():
        if isinstance(module, WEIGHTED):
            handles.append(module.register_forward_hook(_called(found, name)))
        elif isinstance(module, OTHERS):
            handles.append(module.register_forward_hook(lambda *_: found.passed()))
        elif isinstance(module, MODULES):
            handles.append(module.register_forward_hook(lambda _module, _inputs, output: found.activated(output)))
    try:
        with _Functions(found):
            yield found
    finally:
        for handle in handles:
            handle.remove()


def _called(found: Recording, name: str):  # type: ignore[no-untyped-def]
    return lambda _module, _inputs, output: found.called(name, output)


@dataclass
class Activity:
    """What the units of a layer did over many inputs."""

    total: Tensor
    """float64 [U], the sum of absolute activations over inputs and positions."""
    largest: Tensor
    """[U], the largest absolute activation."""
    peak: Tensor
    """[U], the largest output before the activation, a channel's mean over its positions."""
    count: int
    """Inputs times positions."""
    activated: bool

    @staticmethod
    def of(layer: Layer) -> Activity:
        """Of one batch."""
        active, output = _by_unit(layer.active.detach()), layer.output.detach()
        size = active.abs()
        peak = output.flatten(2).mean(2) if output.dim() > 2 else output
        return Activity(size.double().sum(1), size.amax(1), peak.amax(0), size.shape[1], layer.activated)

    def plus(self, other: Activity) -> Activity:
        """With those of another batch."""
        return Activity(
            self.total + other.total,
            torch.maximum(self.largest, other.largest),
            torch.maximum(self.peak, other.peak),
            self.count + other.count,
            self.activated,
        )

    @property
    def mean(self) -> Tensor:
        """[U], the mean absolute activation."""
        return self.total / self.count

    @property
    def dead(self) -> Tensor:
        """bool [U]: units whose activation was 0 for every input."""
        return self.largest == 0

    def dormant(self, tau: float) -> Tensor:
        """bool [U]: units with at most tau times the layer's mean activation (Sokar et al. 2023, definition 3.1)."""
        return self.mean <= tau * self.mean.mean()


def _by_unit(active: Tensor) -> Tensor:
    """[B, U] or [B, C, ...] as [U, everything else]."""
    return active.transpose(0, 1).flatten(1)
