"""Both passes of ReLU networks side by side on the CPU without autograd, into the gradients that optimizers read."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.networks.fast.members_mlp import Views
from gymnast.networks.fast.products import linear, product, rectified
from gymnast.networks.heads.members import Members

Layers = list[tuple[Tensor, Tensor]]


class MemberPasses:
    """Forward and backward passes of `Members` that are ReLU layers and nothing else.

    A backward pass belongs to the last forward pass. It overwrites the gradients of the weights, which are views of a
    flat one.
    """

    def __init__(self, members: Members) -> None:
        assert members.is_relu
        self.members = members
        self._hidden: list[list[Tensor]] = []
        self._inputs = torch.empty(0)
        self._grads: list[Layers] | None = None
        self._ones = torch.ones(0)

    def forward(self, inputs: Tensor, *, first: bool = False) -> Tensor:
        """Inputs float32 [B, in] to [M, B, out], or with `first` the first member's [1, B, out]."""
        views: Views = self.members.member_views()
        self._inputs, self._hidden = inputs, []
        outputs = []
        for layers in views[:1] if first else views:
            seen, output = [], inputs
            for weight, bias in layers[:-1]:
                output = rectified(output, weight, bias)
                seen.append(output)
            self._hidden.append(seen)
            outputs.append(linear(output, *layers[-1]))
        return torch.stack(outputs)

    def write_gradients(self, slopes: Tensor) -> None:
        """Given the slopes by the outputs, [M, B, out], write the gradients of all weights."""
        if self._grads is None:
            self._grads = self._gradients()
        if len(self._ones) != len(self._inputs):
            self._ones = torch.ones(len(self._inputs))
        for slope, layers, grads, hidden in zip(
            slopes, self.members.member_views(), self._grads, self._hidden, strict=True
        ):
            seen = [self._inputs, *hidden]
            for layer in range(len(layers) - 1, -1, -1):
                weight_grad, bias_grad = grads[layer]
                product(slope.t(), seen[layer].t(), out=weight_grad)
                torch.mv(slope.t(), self._ones, out=bias_grad)
                if layer:
                    slope = _through(slope, layers[layer][0], seen[layer])

    def slopes_by_inputs(self, slopes: Tensor, first: int) -> Tensor:
        """Given the slopes by the outputs of the members asked, those by the inputs from number `first` on, [B, D]."""
        total: Tensor | None = None
        for slope, layers, hidden in zip(slopes, self.members.member_views(), self._hidden, strict=False):
            for layer in range(len(layers) - 1, 0, -1):
                slope = _through(slope, layers[layer][0], hidden[layer - 1])
            by_inputs = product(slope, layers[0][0][:, first:].t())
            total = by_inputs if total is None else total + by_inputs
        assert total is not None
        return total

    def _gradients(self) -> list[Layers]:
        """Of each member its layers' gradients of weights and biases."""
        weights, biases = self.members.weights, self.members.biases
        pairs = [(weight.grad, bias.grad) for weight, bias in zip(weights, biases, strict=True)]
        return [
            [(weight[member], bias[member]) for weight, bias in pairs if weight is not None and bias is not None]
            for member in range(self.members.members)
        ]


def _through(slope: Tensor, weight: Tensor, hidden: Tensor) -> Tensor:
    """Slopes [B, out] by a layer's outputs to those [B, in] by the sums before the ReLU whose output it reads."""
    before: Tensor = product(slope, weight.t())
    return torch.ops.aten.threshold_backward.grad_input(before, hidden, 0.0, grad_input=before)  # type: ignore[no-any-return]
