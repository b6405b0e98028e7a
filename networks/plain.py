"""The plain MLP with its backward pass written out: the same gradients as autograd's, for two thirds of the time.

Small networks spend their updates on bookkeeping, not on arithmetic. Every other network takes torch's own way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.backbones import MLP
from gymnast.networks.flat import FlatParameters
from gymnast.networks.heads import QHead, QNetwork
from gymnast.networks.noisy import Linear

THIN = 16
"""Fewer inputs than this, and the weight gradient is faster by way of its transpose."""


relu_backward = torch.ops.aten.threshold_backward.default


class PlainMLP:
    """What `network(obs)` gives, [B, A, K], for float32 observations [B, D]; `backward` writes into the flat gradient.

    It overwrites gradients where autograd adds to them: one forward and one backward pass an update.
    """

    def __init__(self, network: QNetwork, layers: list[nn.Linear], flat: FlatParameters) -> None:
        head = network.head
        assert isinstance(head, QHead)
        self.flat = flat
        self.shape = (-1, head.actions, head.outputs)
        self.weights = [layer.weight.detach() for layer in layers]
        self.biases = [layer.bias.detach() for layer in layers]
        self.grads = [(flat.gradient(layer.weight), flat.gradient(layer.bias)) for layer in layers]

    def __call__(self, obs: Tensor, noise: None = None) -> Tensor:
        if torch.is_grad_enabled() and self.flat.parameter.requires_grad:
            output: Tensor = _Apply.apply(self.flat.parameter, obs, self)  # type: ignore[no-untyped-call]
            return output
        return self.activations(obs)[-1].view(self.shape)

    def activations(self, obs: Tensor) -> list[Tensor]:
        """The input of each layer, and the output of the last one."""
        kept = [obs]
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            features = functional.linear(kept[-1], weight, bias)
            kept.append(features if number == last else features.relu_())
        return kept

    def write_gradients(self, kept: list[Tensor], grad: Tensor) -> None:
        """Backpropagate the gradient of the output, [B, A * K]."""
        for number in reversed(range(len(self.weights))):
            weight_grad, bias_grad = self.grads[number]
            inputs = kept[number]
            if inputs.shape[1] < THIN:
                weight_grad.copy_(torch.mm(inputs.t(), grad).t())
            else:
                torch.mm(grad.t(), inputs, out=weight_grad)
            torch.sum(grad, 0, out=bias_grad)
            if number:
                grad = relu_backward(grad @ self.weights[number], inputs, 0)


class _Apply(torch.autograd.Function):
    """Puts a `PlainMLP` into autograd's graph, so that any loss may follow it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, obs: Tensor, mlp: PlainMLP) -> Tensor:
        *ctx.kept, output = mlp.activations(obs)
        ctx.mlp = mlp
        return output.view(mlp.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None, None]:
        ctx.mlp.write_gradients(ctx.kept, grads[0].flatten(1))
        return None, None, None


def plain_layers(network: nn.Module) -> list[nn.Linear] | None:
    """The linear layers of a network that is nothing but ReLU layers over a flat float Box, else None."""
    if type(network) is not QNetwork or type(network.backbone) is not MLP or type(network.head) is not QHead:
        return None
    backbone, stream = network.backbone, network.head.stream
    if not backbone.vector.is_identity or backbone.activation != "relu" or stream.activation != "relu":
        return None
    layers = [*backbone.layers, *stream.hidden, stream.output]
    linear = [layer for layer in layers if type(layer) in (nn.Linear, Linear)]
    return linear if len(linear) == len(layers) else None


def fast(network: QNetwork, flat: FlatParameters) -> PlainMLP | QNetwork:
    """The network itself, or the same function in a faster form where it has one; `flat` holds its parameters."""
    layers = plain_layers(network)
    learns = layers is not None and all(parameter.dtype == torch.float32 for parameter in network.parameters())
    return PlainMLP(network, layers, flat) if layers is not None and learns else network
