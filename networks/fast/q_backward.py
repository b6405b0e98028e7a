"""Plain networks with their backward pass written out: the same gradients as autograd's, in less time.

Small networks spend their updates on bookkeeping, not on arithmetic, and large ones on copies of gradients: here each
gradient is written where it belongs. Every other network takes torch's own way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.backbones.convolutional import ChannelNorm, ConvNet, pixels
from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.heads.q import QHead, QNetwork
from gymnast.networks.layers.noisy import Linear

Layer = nn.Conv2d | nn.Linear | nn.LayerNorm
THIN = 16
"""Fewer inputs than this, and the weight gradient is faster by way of its transpose."""

relu_backward = torch.ops.aten.threshold_backward.default
convolution_backward = torch.ops.aten.convolution_backward.default
layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default


class PlainLinear:
    """A linear layer of inputs [B, ...], which it flattens."""

    def __init__(self, layer: nn.Linear, flat: FlatParameters) -> None:
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.weight_grad, self.bias_grad = flat.gradient(layer.weight), flat.gradient(layer.bias)

    def inputs(self, features: Tensor) -> Tensor:
        return features if features.dim() == 2 else features.flatten(1)

    def __call__(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.weight, self.bias)

    def backward(self, inputs: Tensor, grad: Tensor, *, further: bool) -> Tensor | None:
        """Write the weights' gradients; the gradient of the inputs where it goes further."""
        if inputs.shape[1] < THIN:
            self.weight_grad.copy_(torch.mm(inputs.t(), grad).t())
        else:
            torch.mm(grad.t(), inputs, out=self.weight_grad)
        torch.sum(grad, 0, out=self.bias_grad)
        return grad @ self.weight if further else None


class PlainConvolution:
    """A convolution of channels-last images; `scale` is what the images are to be multiplied by."""

    def __init__(self, layer: nn.Conv2d, flat: FlatParameters, scale: float) -> None:
        assert layer.bias is not None
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.weight_grad, self.bias_grad = flat.gradient(layer.weight), flat.gradient(layer.bias)
        self.kernel, self.stride, self.scale = layer.kernel_size, layer.stride, scale

    def inputs(self, features: Tensor) -> Tensor:
        return features

    def __call__(self, inputs: Tensor) -> Tensor:
        weight = self.weight if self.scale == 1.0 else self.weight * self.scale  # of which there is less than of images
        return torch.conv2d(inputs, weight, self.bias, self.stride)

    def backward(self, inputs: Tensor, grad: Tensor, *, further: bool) -> Tensor | None:
        """As `PlainLinear.backward`; nothing goes further than the images that are scaled."""
        if grad.dim() == 2:
            sizes = zip(inputs.shape[2:], self.kernel, self.stride, strict=True)
            grad = grad.view(len(grad), -1, *((size - kernel) // stride + 1 for size, kernel, stride in sizes))
        grad = grad.contiguous(memory_format=torch.channels_last)
        inputs_grad, weight_grad, _ = convolution_backward(
            grad, inputs, self.weight, None, self.stride, [0, 0], [1, 1], False, [0, 0], 1, [further, True, False]
        )
        torch.mul(weight_grad, self.scale, out=self.weight_grad)
        torch.sum(grad.permute(0, 2, 3, 1).flatten(0, 2), 0, out=self.bias_grad)  # faster than with the weights
        return inputs_grad  # type: ignore[no-any-return]


class PlainNorm:
    """A layer normalisation of features [B, F], or of images over the channels of each position.

    What it keeps is its output, its inputs, and their means and reciprocal deviations.
    """

    def __init__(self, layer: nn.LayerNorm, flat: FlatParameters) -> None:
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.weight_grad, self.bias_grad = flat.gradient(layer.weight), flat.gradient(layer.bias)
        self.shape, self.eps, self.images = list(layer.normalized_shape), layer.eps, isinstance(layer, ChannelNorm)

    def inputs(self, features: Tensor) -> tuple[Tensor, ...]:
        features = features.permute(0, 2, 3, 1) if self.images else features
        normal, mean, scale = torch.native_layer_norm(features, self.shape, self.weight, self.bias, self.eps)
        return normal.permute(0, 3, 1, 2) if self.images else normal, features, mean, scale

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        return inputs[0]

    def backward(self, inputs: tuple[Tensor, ...], grad: Tensor, *, further: bool) -> Tensor:
        """As `PlainLinear.backward`."""
        output, features, mean, scale = inputs
        if self.images:
            grad = grad.view(output.shape).permute(0, 2, 3, 1)
        grad, weight_grad, bias_grad = layer_norm_backward(
            grad, features, self.shape, mean, scale, self.weight, self.bias, [True, True, True]
        )
        self.weight_grad.copy_(weight_grad)
        self.bias_grad.copy_(bias_grad)
        return grad.permute(0, 3, 1, 2) if self.images else grad


class Plain:
    """What `network(obs, noise)` gives, [B, A, K]; `backward` writes into the flat gradient.

    `layers` are the network's, or its backbone's where the head is not plain, which then takes torch's own way.
    Gradients are overwritten where autograd adds to them: one forward and one backward pass an update.
    """

    def __init__(self, network: QNetwork, layers: list[Layer], flat: FlatParameters) -> None:
        self.flat, self.backbone, self.head = flat, network.backbone, network.head
        self.whole = all(layer is not layers[-1] for layer in self.backbone.modules())
        scale = self.backbone.scale if isinstance(self.backbone, ConvNet) else 1.0
        self.layers = [_plain(layer, flat, 1.0 if number else scale) for number, layer in enumerate(layers)]
        before_norm = [isinstance(layer, nn.LayerNorm) for layer in [*layers[1:], None]]
        self.rectified = [not before for before in before_norm]
        self.rectified[-1] = not self.whole
        """Whether a layer's output goes through the ReLU."""
        # A network's parameters begin with its backbone's.
        flat.added = flat.grad[sum(p.numel() for layer in layers for p in layer.parameters()) :]

    def __call__(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled() and self.flat.parameter.requires_grad:
            output: Tensor = _Apply.apply(self.flat.parameter, obs, self)  # type: ignore[no-untyped-call]
        else:
            output = self.activations(obs)[-1]
        if self.whole:
            return output.view(-1, self.head.actions, self.head.outputs)  # type: ignore[call-overload,no-any-return]
        return self.head(output, noise)  # type: ignore[no-any-return]

    def activations(self, obs: Tensor) -> list[Any]:
        """What each layer keeps, its input for most, and the output [B, F] of the last one."""
        features = pixels(obs) if isinstance(self.backbone, ConvNet) else obs
        kept = list[Any]()
        for layer, rectified in zip(self.layers, self.rectified, strict=True):
            kept.append(layer.inputs(features))
            features = layer(kept[-1])
            if rectified:
                features.relu_()
        return [*kept, features.flatten(1)]

    def write_gradients(self, kept: list[Any], output: Any, grad: Tensor) -> None:
        """Backpropagate the gradient of the output, [B, F]."""
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
        output: Tensor = ctx.output.view_as(ctx.output)  # another tensor, for the graph would hold itself
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None, None]:
        ctx.plain.write_gradients(ctx.kept, ctx.output, grads[0])
        return None, None, None


def _plain(layer: Layer, flat: FlatParameters, scale: float) -> Any:
    if isinstance(layer, nn.LayerNorm):
        return PlainNorm(layer, flat)
    return PlainConvolution(layer, flat, scale) if isinstance(layer, nn.Conv2d) else PlainLinear(layer, flat)


def plain_layers(network: nn.Module) -> list[Layer] | None:
    """The layers of a network that is nothing but ReLU layers over a flat float Box or images, else None.

    Layer normalisations before the ReLU are layers of their own. Where only the head of convolutions is of another
    kind, the layers of the backbone.
    """
    if type(network) is not QNetwork:
        return None
    backbone, head, layers = network.backbone, network.head, list[Any]()
    if type(backbone) is MLP and backbone.vector.is_identity and backbone.activation == "relu":
        layers = _in_turn(backbone.layers, backbone.norms)
    elif isinstance(backbone, ConvNet) and type(backbone).forward is ConvNet.forward and not backbone.bf16:
        convolutions = _in_turn(backbone.convolutions, backbone.channel_norms)
        layers = [*convolutions, *_in_turn(backbone.layers, backbone.norms)]
    else:
        return None
    if type(head) is QHead and head.stream.activation == "relu":
        whole = [*layers, *head.stream.hidden, head.stream.output]
        if all(type(layer) in (nn.Conv2d, nn.Linear, Linear, nn.LayerNorm, ChannelNorm) for layer in whole):
            return whole
    return layers if isinstance(backbone, ConvNet) else None


def _in_turn(layers: Iterable[nn.Module], norms: Iterable[nn.Module]) -> list[Any]:
    """Each layer and, where it has one, its normalisation."""
    pairs = zip(layers, norms, strict=True)
    return [part for pair in pairs for part in pair if not isinstance(part, nn.Identity)]


def fast(network: QNetwork, flat: FlatParameters) -> Plain | QNetwork:
    """The network itself, or the same function in a faster form where it has one; `flat` holds its parameters."""
    layers = plain_layers(network)
    parameters = list(network.parameters())
    learns = all(parameter.dtype == torch.float32 and parameter.grad is not None for parameter in parameters)
    # On a GPU each of its calls would wait for Python, as autograd's do not.
    on_cpu = flat.data.device.type == "cpu"
    images = isinstance(network.backbone, ConvNet)
    return Plain(network, layers, flat) if layers is not None and learns and (on_cpu or not images) else network
