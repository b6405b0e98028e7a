"""A network as a function of a flat vector of its parameters, so that each row of a batch may have its own."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.layers.activations import FUNCTIONS
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.modes import acting


def with_output(
    backbone: nn.Module, outputs: int, *, init: str, scale: float = 1.0, generator: torch.Generator
) -> nn.Sequential:
    """The backbone and a linear layer after it: observations [B, ...] to [B, outputs].

    The layer's weights are drawn by `init` (see `networks.init`) and multiplied by `scale`.
    """
    output = nn.Linear(int(backbone.out_features), outputs)  # type: ignore[arg-type]
    initialise(output, init, activation=None, generator=generator)
    with torch.no_grad():
        output.weight.mul_(scale)
    return acting(nn.Sequential(OrderedDict(backbone=backbone, output=output)))


def flat_vector(network: nn.Module) -> Tensor:
    """A copy of all parameters as one vector [P], on the CPU."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()])


class Stacked:
    """Computes a network from `with_output` with parameters that are passed in; the module itself has none.

    `size` is P, their number. A plain MLP is computed by batched matrix products, any other network through `vmap`.
    """

    def __init__(self, network: nn.Sequential) -> None:
        self.network = network.requires_grad_(False)
        named = dict(network.named_parameters())
        self.names = list(named)
        self.shapes = [parameter.shape for parameter in named.values()]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.size = sum(self.sizes)
        backbone = network.backbone
        self._mlp: MLP | None = None
        if type(backbone) is MLP and backbone.is_plain and backbone.norm == "none":
            self._mlp = backbone

    def module(self, parameters: Tensor) -> nn.Sequential:
        """A copy of the network with these parameters [P]."""
        made = copy.deepcopy(self.network)
        for own, part in zip(made.parameters(), torch.split(parameters, self.sizes), strict=True):
            own.copy_(part.view_as(own))  # no gradient flows into either
        return made

    def __call__(self, parameters: Tensor, obs: Obs) -> Tensor:
        """Outputs [N, outputs] for observations [N, ...]: with one vector [P] for all rows, or [N, P], one each."""
        leading = parameters.shape[:-1]
        split = torch.split(parameters, self.sizes, -1)
        parts = [part.view(leading + shape) for part, shape in zip(split, self.shapes, strict=True)]
        if self._mlp is not None:
            return self._dense(self._mlp, parts, obs)
        named = dict(zip(self.names, parts, strict=True))
        if not leading:
            return functional_call(self.network, named, (obs,))  # type: ignore[no-any-return]
        return vmap(self._single)(named, obs)

    def _dense(self, mlp: MLP, parts: list[Tensor], obs: Obs) -> Tensor:
        """The MLP and the output layer; weights and biases follow each other in `parts`."""
        activate = FUNCTIONS[mlp.activation]
        features: Tensor = mlp.vector(obs)
        for number in range(0, len(parts), 2):
            features = _linear(features, parts[number], parts[number + 1])
            if number < len(parts) - 2:
                features = activate(features)
        return features

    def _single(self, named: dict[str, Tensor], obs: Obs) -> Tensor:
        """One row's outputs [outputs] with its own parameters."""
        output: Tensor = functional_call(self.network, named, (_unsqueezed(obs),))
        return output.squeeze(0)


def _linear(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Features [N, in] to [N, out], by weights [out, in] for all rows or [N, out, in], one matrix each."""
    if weight.dim() == 2:
        return functional.linear(features, weight, bias)
    return torch.baddbmm(bias.unsqueeze(2), weight, features.unsqueeze(2)).squeeze(2)


def _unsqueezed(obs: Obs) -> Obs:
    if isinstance(obs, dict):
        return {key: _unsqueezed(part) for key, part in obs.items()}
    return obs.unsqueeze(0)
