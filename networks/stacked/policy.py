"""Many actor-critics of one form at once: each has its own row of parameters, every layer is one batched product."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.heads.actor_critic import ActorCriticNetwork, Trunk
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.inputs import Obs

Layer = tuple[Tensor, Tensor]
"""Weights [M, out, in] and biases [M, out]."""


class StackedActorCritic:
    """Computes an `ActorCriticNetwork` of fully connected layers with M rows of parameters; it has none of its own.

    A row [P] holds the network's parameters in the order of `named_parameters`, as in `FlatParameters`.

    Raises:
        ValueError: for a trunk that is not an MLP, is recurrent, or normalises observations.
    """

    def __init__(self, network: ActorCriticNetwork) -> None:
        for trunk in (network.actor, network.critic):
            if trunk is not None and (type(trunk.backbone) is not MLP or trunk.core is not None):
                raise ValueError("a stacked actor-critic needs fully connected trunks: use backbone mlp")
        if network.norm is not None:
            raise ValueError("a stacked actor-critic does not normalise observations")
        self.network = network.requires_grad_(False)
        named = dict(network.named_parameters())
        self.shapes = {name: parameter.shape for name, parameter in named.items()}
        self.sizes = [parameter.numel() for parameter in named.values()]
        self.size = sum(self.sizes)
        """P, the parameters of one network."""

    def split(self, parameters: Tensor) -> dict[str, Tensor]:
        """Rows [M, P] as views by the parameters' names, each [M, *shape]."""
        parts = torch.split(parameters, self.sizes, -1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(*part.shape[:-1], *shape) for (name, shape), part in named}

    def __call__(self, parameters: Tensor, obs: Obs) -> tuple[Tensor, Tensor]:
        """Outputs [M, B, P + scales] and values [M, B, V] of observations [M * B, ...], grouped by member."""
        parts = self.split(parameters)
        of_actor = self._features("actor", self.network.actor, parts, obs)
        output = _linear(of_actor, _layer(parts, "policy"))
        if self.network.log_std is not None:
            output = torch.cat([output, parts["log_std"].unsqueeze(1).expand(-1, output.shape[1], -1)], 2)
        return output, self._value(parts, obs, of_actor)

    def value(self, parameters: Tensor, obs: Obs) -> Tensor:
        """Only the values, [M, B, V]."""
        parts, shared = self.split(parameters), None
        if self.network.critic is None:
            shared = self._features("actor", self.network.actor, parts, obs)
        return self._value(parts, obs, shared)

    def _value(self, parts: dict[str, Tensor], obs: Obs, of_actor: Tensor | None) -> Tensor:
        critic = self.network.critic
        features = of_actor if critic is None else self._features("critic", critic, parts, obs)
        assert features is not None
        return _linear(features, _layer(parts, "value"))

    def _features(self, name: str, trunk: Trunk, parts: dict[str, Tensor], obs: Obs) -> Tensor:
        """A trunk's features, [M, B, H]."""
        mlp = trunk.backbone
        assert isinstance(mlp, MLP)
        activate = ACTIVATIONS[mlp.activation]
        vector: Tensor = mlp.vector(obs)
        features = vector.view(len(parts["policy.bias"]), -1, vector.shape[1])
        for number in range(len(mlp.layers)):
            features = activate(_linear(features, _layer(parts, f"{name}.backbone.layers.{number}")))
        return features


def stacked(network: ActorCriticNetwork) -> Tensor:
    """A copy of the parameters as one row [P], on the CPU."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()])


def _layer(parts: dict[str, Tensor], name: str) -> Layer:
    return parts[f"{name}.weight"], parts[f"{name}.bias"]


def _linear(features: Tensor, layer: Layer) -> Tensor:
    """Features [M, B, in] to [M, B, out]."""
    weight, bias = layer
    return torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2))
