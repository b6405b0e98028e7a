"""ReLU layers of several networks side by side on the CPU, as one node of autograd whose products oneDNN computes.

Gain of a SAC update, batch 256 and 256-256, over batched products and autograd: see `benchmarks/fast.py`. On AMD
processors the library behind `torch.mm` reaches half of oneDNN's speed.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SMALL = 32
"""Outputs up to which a layer is left to `torch.mm`, whose call costs less."""
Parameters = Sequence[tuple[Tensor, Tensor]]
"""Weights [M, out, in] and biases [M, out] of each layer."""


def has_onednn() -> bool:
    """Whether this build of torch has oneDNN's linear layer with its activation, on a processor that it is made for."""
    if not torch._C._has_mkldnn or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def members_mlp(features: Tensor, layers: Parameters, *, frozen: bool = False) -> Tensor:
    """Features float32 [B, F] through M networks with ReLU between their layers; [M, B, out].

    `frozen` computes no gradients of the weights.
    """
    flat = [tensor for layer in layers for tensor in layer]
    output: Tensor = _MembersMLP.apply(not frozen, features, *flat)  # type: ignore[no-untyped-call]
    return output


class _MembersMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, learns: bool, features: Tensor, *flat: Tensor) -> Tensor:
        weights, biases = flat[::2], flat[1::2]
        members = [
            [(weight[member], bias[member]) for weight, bias in zip(weights, biases, strict=True)]
            for member in range(len(weights[0]))
        ]
        outputs, hidden = [], []
        for layers in members:
            output = features
            for weight, bias in layers[:-1]:
                output = _linear(output, weight, bias, "relu")
                hidden.append(output)
            outputs.append(_last(output, *layers[-1]))
        ctx.learns = learns
        ctx.save_for_backward(features, *flat, *hidden)
        return torch.stack(outputs)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        features, *rest = ctx.saved_tensors
        _, needed, *of_parameters = ctx.needs_input_grad
        parameters, learns = len(of_parameters), ctx.learns and any(of_parameters)
        weights, hidden = rest[:parameters:2], rest[parameters:]
        layers = len(weights)
        grads = [torch.empty_like(parameter) for parameter in rest[:parameters]] if learns else []
        total: Tensor | None = None
        for member, slope in enumerate(slopes[0].contiguous()):
            seen = [features, *hidden[member * (layers - 1) : (member + 1) * (layers - 1)]]
            for layer in reversed(range(layers)):
                if learns:
                    grads[2 * layer][member] = _product(slope.t(), seen[layer].t())
                    torch.sum(slope, 0, out=grads[2 * layer + 1][member])
                if layer or needed:
                    slope = _product(slope, weights[layer][member].t())
                if layer:
                    slope = torch.ops.aten.threshold_backward(slope, seen[layer], 0.0)
            if needed:
                total = slope if total is None else total.add_(slope)
        return None, total, *(grads if learns else (None,) * parameters)


def _linear(features: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    output: Tensor = torch.ops.mkldnn._linear_pointwise(features, weight, bias, activation, [], "")
    return output


def _last(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if len(weight) <= SMALL:
        return torch.addmm(bias, features, weight.t())
    return _linear(features, weight, bias, "none")


def _product(left: Tensor, right: Tensor) -> Tensor:
    """`left` @ `right` transposed, both of which may be transposed views."""
    if left.shape[1] == 1:
        return left * right.t()  # an outer product
    if min(left.shape[0], left.shape[1], right.shape[0]) <= SMALL:
        return left @ right.t()
    return _linear(left, right, None, "none")
