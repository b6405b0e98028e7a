"""The common part of stacked networks: rows of parameters, and fully connected layers as batched products."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.layers.activations import FUNCTIONS
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.noisy import FORM_FROM, NoisyLinear

Parts = dict[str, Tensor]
"""Parameters by their names, each [M, *shape]."""


class StackedParameters:
    """Rows [M, P] that hold the parameters of M networks of one form; the module itself has none.

    A row has them in the order of `named_parameters`, as in `FlatParameters`.
    """

    def __init__(self, network: nn.Module) -> None:
        network.requires_grad_(False)
        named = dict(network.named_parameters())
        self.shapes = {name: parameter.shape for name, parameter in named.items()}
        self.sizes = [parameter.numel() for parameter in named.values()]
        self.size = sum(self.sizes)
        """P, the parameters of one network."""

    def split(self, parameters: Tensor) -> Parts:
        """Rows [M, P] as views by the parameters' names, each [M, *shape]."""
        parts = torch.split(parameters, self.sizes, -1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(*part.shape[:-1], *shape) for (name, shape), part in named}


def check_plain(backbone: nn.Module) -> None:
    """Raise ValueError for an MLP with parts that `mlp` does not compute."""
    if isinstance(backbone, MLP) and backbone.beyond:
        raise ValueError(f"{backbone.beyond[0]} cannot be used in a population")


def flat(network: nn.Module) -> Tensor:
    """A copy of the parameters as one row [P], on the CPU."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()])


def linear(parts: Parts, name: str, features: Tensor) -> Tensor:
    """The layer of a name: features [M, B, in] to [M, B, out]."""
    weight, bias = parts[f"{name}.weight"], parts[f"{name}.bias"]
    return torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2))


def noisy_linear(parts: Parts, name: str, layer: NoisyLinear, features: Tensor, noise: Tensor) -> Tensor:
    """The noisy layer of a name: features [M, B, in] to [M, B, out].

    Of the noise [M, R, C] each row is shared by B / R successive rows, as in `NoisyLinear`.
    """
    mine = noise[..., layer.offset : layer.offset + layer.noise_size]
    inputs, outputs = mine[..., : -layer.out_features], mine[..., -layer.out_features :]
    weight, bias = parts[f"{name}.weight_sigma"], parts[f"{name}.bias_sigma"]
    (members, rows), groups = features.shape[:2], noise.shape[1]
    grouped = features.view(members, groups, rows // groups, -1)  # [M, R, B / R, in]
    if layer.kind == "factorised" and (groups > 1 or rows < FORM_FROM):
        # eps_w is the outer product of two vectors, so it need not be formed: they scale inputs and outputs.
        scaled = (grouped * inputs.unsqueeze(2)).flatten(1, 2)
        spread = torch.baddbmm(bias.unsqueeze(1), scaled, weight.transpose(1, 2))
        spread = spread.view(members, groups, rows // groups, -1) * outputs.unsqueeze(2)
        return linear(parts, name, features) + spread.flatten(1, 2)
    if layer.kind == "factorised":
        eps = outputs.unsqueeze(3) * inputs.unsqueeze(2)  # [M, R, out, in]
    else:
        eps = inputs.view(members, groups, layer.out_features, layer.in_features)
    weight = torch.addcmul(parts[f"{name}.weight"].unsqueeze(1), weight.unsqueeze(1), eps).flatten(0, 1)
    bias = torch.addcmul(parts[f"{name}.bias"].unsqueeze(1), bias.unsqueeze(1), outputs).flatten(0, 1)
    return torch.baddbmm(bias.unsqueeze(1), grouped.flatten(0, 1), weight.transpose(1, 2)).view(members, rows, -1)


def mlp(parts: Parts, name: str, backbone: MLP, obs: Obs) -> Tensor:
    """The features [M, B, H] that the MLP of a name computes from observations [M * B, ...]."""
    activate = FUNCTIONS[backbone.activation]
    vector: Tensor = backbone.vector(obs)
    features = vector.view(len(next(iter(parts.values()))), -1, vector.shape[1])
    for number in range(len(backbone.layers)):
        features = linear(parts, f"{name}.layers.{number}", features)
        if backbone.norm == "layer":
            weight, bias = (parts[f"{name}.norms.{number}.{part}"].unsqueeze(1) for part in ("weight", "bias"))
            features = torch.addcmul(bias, functional.layer_norm(features, features.shape[2:]), weight)
        features = activate(features)
    return features
