"""ReLU layers of several networks side by side on the CPU, as one node of autograd.

Both passes of two critics, batch 256 and 256-256, take half the time of batched products and autograd on a Zen 5.
`benchmarks/off_policy.py` measures the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.networks.fast.products import linear, product, rectified

Parameters = Sequence[tuple[Tensor, Tensor]]
"""Weights [M, out, in] and biases [M, out] of each layer."""
Views = Sequence[Sequence[tuple[Tensor, Tensor]]]
"""Of each member its layers' weights [out, in] and biases [out], without gradients."""


def views_of(layers: Parameters) -> Views:
    """The members' layers as views of their parameters, which follow every change of them."""
    members = range(len(layers[0][0]))
    return [[(weight.detach()[member], bias.detach()[member]) for weight, bias in layers] for member in members]


def members_mlp(features: Tensor, layers: Parameters, views: Views, *, frozen: bool = False) -> Tensor:
    """Features float32 [B, F] through M networks with ReLU between their layers; [M, B, out].

    `views` are those of the layers' first M members. `frozen` computes no gradients of the weights.
    """
    flat = () if frozen else tuple(tensor for layer in layers for tensor in layer)
    output: Tensor = _MembersMLP.apply(views, features, *flat)  # type: ignore[no-untyped-call]
    return output


def members_linear(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Features float32 [M, B, in] through one layer of M networks, as `torch.baddbmm`; [M, B, out]."""
    output: Tensor = _MembersLinear.apply(features, weight, bias)  # type: ignore[no-untyped-call]
    return output


class _MembersLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight)
        return torch.stack([linear(*member) for member in zip(features, weight, bias, strict=True)])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        (slope,), (to_features, to_weight, to_bias) = slopes, ctx.needs_input_grad
        by_features = [product(one, own.t()) for one, own in zip(slope, weight, strict=True)] if to_features else []
        by_weight = [product(one.t(), own.t()) for one, own in zip(slope, features, strict=True)] if to_weight else []
        return (
            torch.stack(by_features) if by_features else None,
            torch.stack(by_weight) if by_weight else None,
            slope.sum(1) if to_bias else None,
        )


class _MembersMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, views: Views, features: Tensor, *flat: Tensor) -> Tensor:
        outputs, hidden = [], []
        for layers in views:
            output = features
            for weight, bias in layers[:-1]:
                output = rectified(output, weight, bias)
                hidden.append(output)
            outputs.append(linear(output, *layers[-1]))
        ctx.views, ctx.shapes = views, [tensor.shape for tensor in flat]
        ctx.save_for_backward(features, *hidden)
        return torch.stack(outputs)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        features, *hidden = ctx.saved_tensors
        _, needed, *of_parameters = ctx.needs_input_grad
        learns, last = any(of_parameters), len(ctx.views[0]) - 1
        grads = [features.new_empty(shape) for shape in ctx.shapes] if learns else []
        total: Tensor | None = None
        for member, slope in enumerate(slopes[0]):
            seen = [features, *hidden[member * last : (member + 1) * last]]
            for layer in range(last, -1, -1):
                if learns:
                    grads[2 * layer][member] = product(slope.t(), seen[layer].t())
                    torch.sum(slope, 0, out=grads[2 * layer + 1][member])
                if layer or needed:
                    slope = product(slope, ctx.views[member][layer][0].t())
                if layer:
                    slope = torch.ops.aten.threshold_backward(slope, seen[layer], 0.0)
            if needed:
                total = slope if total is None else total + slope
        return None, total, *(grads if learns else (None,) * len(of_parameters))
