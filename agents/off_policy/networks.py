"""The networks of an off-policy actor-critic: an encoder below critics, and a policy on the encoder's features."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gymnast.agents.encoder import Layers, make_backbone
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.policies import Policy
from gymnast.envs.step import Obs
from gymnast.networks.build import Backbone, chosen_name
from gymnast.networks.heads.members import Members
from gymnast.networks.layers.renorm import BatchRenorm

Array = NDArray[Any]
ZERO = np.zeros((), np.float32)


class CriticNetwork(nn.Module):
    """M critics on an encoder's features: of an action that they read (A = 1), or of each of A choices."""

    def __init__(self, encoder: nn.Module, critics: Members, *, choices: int, outputs: int) -> None:
        super().__init__()
        self.encoder, self.critics, self.choices, self.outputs = encoder, critics, choices, outputs

    def features(self, obs: Obs) -> Tensor:
        """Observations [B, ...] to features [B, F]."""
        features: Tensor = self.encoder(obs)
        return features

    def forward(self, features: Tensor, action: Tensor | None, *, frozen: bool = False) -> Tensor:
        """Features [B, F], and actions [B, D] or None, to [M, B, A, K]; `frozen` stops gradients to the weights."""
        seen = features if action is None else torch.cat([features, action], 1)
        output: Tensor = self.critics(seen, frozen=frozen)
        return output.view(output.shape[0], output.shape[1], self.choices, self.outputs)


class PolicyNetwork(nn.Module):
    """Features [B, F] to a policy's outputs [B, P]."""

    def __init__(self, layers: Members) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.layers(features)
        return output.squeeze(0)


def critic_network(
    backbone: Backbone,
    observation_space: gym.Space[Any],
    config: OffPolicyActorCriticConfig,
    *,
    action_size: int,
    choices: int,
    generator: torch.Generator,
) -> CriticNetwork:
    """An encoder and critics of actions of `action_size` numbers, or of `choices` actions."""
    plain = chosen_name(backbone, observation_space) == "mlp"  # reads the observation: critics have layers of their own
    layers = Layers(() if plain else None, config.activation)
    encoder = make_backbone(backbone, observation_space, config, layers, generator=generator)
    outputs = config.quantiles if config.values == "quantile" else 1
    critics = Members(
        int(encoder.out_features) + action_size,  # type: ignore[arg-type]
        config.hidden_sizes,
        choices * outputs,
        members=config.critics,
        activation=config.activation,
        norm=config.critic_norm,
        dropout=config.dropout,
        init=config.init,
        generator=generator,
    )
    return CriticNetwork(encoder, _warmed(critics, config), choices=choices, outputs=outputs)


def policy_network(
    features: int, policy: Policy, config: OffPolicyActorCriticConfig, *, generator: torch.Generator
) -> PolicyNetwork:
    """A policy on `features` numbers."""
    layers = Members(
        features,
        config.policy_hidden_sizes or config.hidden_sizes,
        policy.outputs,
        members=1,
        activation=config.activation,
        norm=config.policy_norm,
        init=config.init,
        generator=generator,
    )
    return PolicyNetwork(_warmed(layers, config))


def _warmed(layers: Members, config: OffPolicyActorCriticConfig) -> Members:
    for module in layers.modules():
        if isinstance(module, BatchRenorm):
            module.warm_up = config.norm_warm_up
    return layers


class NumpyPolicy:
    """A policy's outputs, [N, P], for float32 observations [N, F] in NumPy, on views of its weights.

    Build it once its parameters are flat (`FlatParameters`): views of weights that move later would go stale.
    """

    def __init__(self, network: PolicyNetwork) -> None:
        layers = network.layers
        self._layers: list[tuple[Array, Array]] = [
            (weight.detach().numpy()[0].T, bias.detach().numpy()[0])
            for weight, bias in zip(layers.weights, layers.biases, strict=True)
        ]

    def __call__(self, obs: Array) -> Array:
        output, last = obs, len(self._layers) - 1
        for number, (weight, bias) in enumerate(self._layers):
            output = output.dot(weight)
            output += bias
            if number < last:
                np.maximum(output, ZERO, out=output)
        return output


def numpy_policy(network: PolicyNetwork, encoder: nn.Module) -> NumpyPolicy | None:
    """The NumPy form of ReLU layers on a flat float Box on the CPU, None for another network."""
    layers, vector = network.layers, getattr(encoder, "vector", None)
    plain = vector is not None and vector.is_identity and not any(True for _ in encoder.parameters())
    plain = plain and layers.activation == "relu" and layers.norm == "none"
    return NumpyPolicy(network) if plain and all(one.is_cpu for one in network.parameters()) else None
