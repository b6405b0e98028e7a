"""Q-networks of ReLU layers with their backward pass written out: the same gradients as autograd's, in less time.

Small networks spend their updates on bookkeeping, not on arithmetic: here each gradient is written directly into its
place. Every other network uses autograd; convolutions gained too little from such a form (RESULTS.md).

Gain of a gradient over autograd, `python benchmarks/fast.py`: DQN 1.1 to 1.2 times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.heads.q import QHead, QNetwork
from gymnast.networks.layers.noisy import Linear

Layer = nn.Linear | nn.LayerNorm
THIN = 16
"""With fewer inputs than this, the weight gradient is faster as a transpose."""

relu_backward = torch.ops.aten.threshold_backward.default
layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default


class PlainLinear:
    """A linear layer of inputs [B, F]."""

    def __init__(self, layer: nn.Linear, flat: FlatParameters) -> None:
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.weight_grad, self.bias_grad = flat.gradient(layer.weight), flat.gradient(layer.bias)

    def inputs(self, features: Tensor) -> Tensor:
        return features

    def __call__(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.weight, self.bias)

    def backward(self, inputs: Tensor, grad: Tensor, *, further: bool) -> Tensor | None:
        """Write the weights' gradients; returns the gradient of the inputs if it is needed `further`."""
        if inputs.shape[1] < THIN:
            self.weight_grad.copy_(torch.mm(inputs.t(), grad).t())
        else:
            torch.mm(grad.t(), inputs, out=self.weight_grad)
        torch.sum(grad, 0, out=self.bias_grad)
        return grad @ self.weight if further else None


class PlainNorm:
    """A layer normalisation of features [B, F].

    It saves its output, its inputs, and their means and reciprocal deviations.
    """

    def __init__(self, layer: nn.LayerNorm, flat: FlatParameters) -> None:
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.weight_grad, self.bias_grad = flat.gradient(layer.weight), flat.gradient(layer.bias)
        self.shape, self.eps = list(layer.normalized_shape), layer.eps

    def inputs(self, features: Tensor) -> tuple[Tensor, ...]:
        normal, mean, scale = torch.native_layer_norm(features, self.shape, self.weight, self.bias, self.eps)
        return normal, features, mean, scale

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        return inputs[0]

    def backward(self, inputs: tuple[Tensor, ...], grad: Tensor, *, further: bool) -> Tensor:
        """Like `PlainLinear.backward`."""
        _, features, mean, scale = inputs
        grad, weight_grad, bias_grad = layer_norm_backward(
            grad, features, self.shape, mean, scale, self.weight, self.bias, [True, True, True]
        )
        self.weight_grad.copy_(weight_grad)
        self.bias_grad.copy_(bias_grad)
        return grad


class Plain:
    """Computes `network(obs)`, [B, A, K]; `write_gradients` writes into the flat gradient.

    Unlike autograd it overwrites gradients instead of adding to them: one forward and one backward pass per update.
    """

    def __init__(self, network: QNetwork, layers: list[Layer], flat: FlatParameters) -> None:
        self.flat, self.head = flat, network.head
        self.layers = [
            PlainNorm(layer, flat) if isinstance(layer, nn.LayerNorm) else PlainLinear(layer, flat) for layer in layers
        ]
        self.rectified = [not isinstance(following, nn.LayerNorm) for following in layers[1:]] + [False]
        """Whether a layer's output goes through the ReLU."""
        flat.added = flat.grad[:0]

    def __call__(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled() and self.flat.parameter.requires_grad:
            output: Tensor = _Apply.apply(self.flat.parameter, obs, self)  # type: ignore[no-untyped-call]
        else:
            output = self.activations(obs)[-1]
        return output.view(-1, self.head.actions, self.head.outputs)  # type: ignore[call-overload,no-any-return]

    def activations(self, obs: Tensor) -> list[Any]:
        """The saved tensors of each layer, its input for most, and the output [B, A * K] of the last one."""
        features, kept = obs, list[Any]()
        for layer, rectified in zip(self.layers, self.rectified, strict=True):
            kept.append(layer.inputs(features))
            features = layer(kept[-1])
            if rectified:
                features.relu_()
        return [*kept, features]

    def write_gradients(self, kept: list[Any], output: Any, grad: Tensor) -> None:
        """Backpropagate the gradient of the output, [B, A * K]."""
        flowing: Tensor | None = grad
        for number in reversed(range(len(self.layers))):
            assert flowing is not None
            if self.rectified[number]:
                flowing = relu_backward(flowing, output, 0)
            output = kept[number]
            flowing = self.layers[number].backward(output, flowing, further=number > 0)


class _Apply(torch.autograd.Function):
    """Puts a `Plain` network into autograd's graph, so that any loss may follow it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, obs: Tensor, plain: Plain) -> Tensor:
        *ctx.kept, ctx.output = plain.activations(obs)
        ctx.plain = plain
        output: Tensor = ctx.output.view_as(ctx.output)  # another tensor, because the graph would hold itself
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None, None]:
        ctx.plain.write_gradients(ctx.kept, ctx.output, grads[0])
        return None, None, None


def plain_layers(network: nn.Module) -> list[Layer] | None:
    """The layers of a network of only ReLU layers over a flat Box of floats, else None.

    Layer normalisations before the ReLU are layers of their own.
    """
    if type(network) is not QNetwork:
        return None
    backbone, head = network.backbone, network.head
    if type(backbone) is not MLP or type(head) is not QHead or not backbone.vector.is_identity:
        return None
    if not backbone.is_plain:
        return None
    hidden = [part for pair in zip(backbone.layers, backbone.norms, strict=True) for part in pair]
    layers: list[Any] = [layer for layer in hidden if not isinstance(layer, nn.Identity)]
    layers += [*head.stream.hidden, head.stream.output]
    known = all(type(layer) in (nn.Linear, Linear, nn.LayerNorm) for layer in layers)
    return layers if known and backbone.activation == head.stream.activation == "relu" else None


def fast(network: QNetwork, flat: FlatParameters) -> Plain | QNetwork:
    """The network itself, or the same function in a faster form if it has one; `flat` holds its parameters."""
    layers = plain_layers(network)
    parameters = list(network.parameters())
    learns = all(parameter.dtype == torch.float32 and parameter.grad is not None for parameter in parameters)
    return Plain(network, layers, flat) if layers is not None and learns else network
