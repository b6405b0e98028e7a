"""Several fully connected networks of one form side by side: the critics of an agent, or its one policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.fast.members_mlp import Views, members_linear, members_mlp, views_of
from gymnast.networks.fast.products import uses_onednn
from gymnast.networks.layers.activations import FUNCTIONS
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.renorm import BatchRenorm

MemberNorm = Literal["none", "layer", "batch-renorm"]


class MemberNormLayer(nn.Module):
    """Layer normalisation of features [M, B, F], with weights of each member (Ba et al. 2016)."""

    def __init__(self, members: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, features))
        self.bias = nn.Parameter(torch.zeros(members, features))

    def forward(self, features: Tensor) -> Tensor:
        normal = functional.layer_norm(features, features.shape[2:])
        return torch.addcmul(self.bias.unsqueeze(1), normal, self.weight.unsqueeze(1))


class Members(nn.Module):
    """M networks of one form, each with weights of its own: features [B, F] to [M, B, outputs].

    After each hidden layer: dropout, layer normalisation, activation, in this order (Hiraoka et al. 2022, DroQ). With
    `batch-renorm` the input and the outputs of all activations are normalised (Bhatt et al. 2024, CrossQ).

    Raises:
        ValueError: an activation that is no elementwise function.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        members: int,
        activation: str = "relu",
        norm: MemberNorm = "none",
        dropout: float = 0.0,
        init: str = "torch",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if activation not in FUNCTIONS:
            raise ValueError(f"activation must be one of {', '.join(FUNCTIONS)} in this agent, got {activation!r}")
        self.members, self.activation, self.norm = members, activation, norm
        made = [_layers(in_features, hidden, outputs) for _ in range(members)]
        for network in made:
            initialise(network, init, activation=activation, generator=generator)
        layers = [[layer for layer in same if isinstance(layer, nn.Linear)] for same in zip(*made, strict=True)]
        self.weights = nn.ParameterList(torch.stack([layer.weight.detach() for layer in same]) for same in layers)
        self.biases = nn.ParameterList(torch.stack([layer.bias.detach() for layer in same]) for same in layers)
        self._pairs = list(zip(self.weights, self.biases, strict=True))  # lists of parameters are slow to read
        self._views: tuple[int, Views] | None = None
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.norms = _norms(norm, in_features, hidden, members)
        self.is_relu = activation == "relu" and norm == "none" and not dropout and len(hidden) > 0
        """Whether it is ReLU layers and nothing else."""
        self._fast = self.is_relu
        self._fast_products = uses_onednn()

    def forward(self, features: Tensor, *, frozen: bool = False, first: bool = False) -> Tensor:
        """`frozen` lets gradients through to the features, not into weights; `first` gives that member only."""
        if self._fast and features.is_cpu and not torch.compiler.is_compiling():
            views = self.member_views()
            if not first:
                return members_mlp(features, self._pairs, views, frozen=frozen)
            pairs = [] if frozen else [(weight[:1], bias[:1]) for weight, bias in self._pairs]
            return members_mlp(features, pairs, views[:1], frozen=frozen)
        output = self._plain(features, frozen)
        return output[:1] if first else output

    def member_views(self) -> Views:
        """The members' layers, made again if the parameters lie elsewhere."""
        place = self.weights[0].data_ptr()
        if self._views is None or self._views[0] != place:
            self._views = place, views_of(self._pairs)
        return self._views[1]

    def _plain(self, features: Tensor, frozen: bool) -> Tensor:
        layers = [
            (weight.detach(), bias.detach()) if frozen else (weight, bias)
            for weight, bias in zip(self.weights, self.biases, strict=True)
        ]
        output = features.expand(self.members, -1, -1)  # [M, B, F]
        if self.norm == "batch-renorm":
            output = self._normalised(0, output, frozen)
        fast = self._fast_products and features.is_cpu and not torch.compiler.is_compiling()
        last = len(layers) - 1
        for number, (weight, bias) in enumerate(layers):
            if fast:
                output = members_linear(output, weight, bias)
            else:
                output = torch.baddbmm(bias.unsqueeze(1), output, weight.transpose(1, 2))
            if number == last:
                break
            if self.dropout is not None:
                output = self.dropout(output)
            if self.norm == "layer":
                output = self._normalised(number, output, frozen)
            output = FUNCTIONS[self.activation](output)
            if self.norm == "batch-renorm":
                output = self._normalised(number + 1, output, frozen)
        return output

    def _normalised(self, number: int, features: Tensor, frozen: bool) -> Tensor:
        norm = self.norms[number]
        if frozen:
            detached = {name: parameter.detach() for name, parameter in norm.named_parameters()}
            output: Tensor = torch.func.functional_call(norm, detached, (features,))
        else:
            output = norm(features)
        return output


def _layers(in_features: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear layers under names that `initialise` knows: the last one has no activation after it."""
    widths = [in_features, *hidden]
    layers = nn.Sequential()
    for low, high in zip(widths, hidden, strict=False):
        layers.append(nn.Linear(low, high))
    layers.add_module("output", nn.Linear(widths[-1], outputs))
    return layers


def _norms(norm: MemberNorm, in_features: int, hidden: Sequence[int], members: int) -> nn.ModuleList:
    if norm == "layer":
        return nn.ModuleList(MemberNormLayer(members, units) for units in hidden)
    if norm == "batch-renorm":
        return nn.ModuleList(BatchRenorm(members, units) for units in (in_features, *hidden))
    return nn.ModuleList()
