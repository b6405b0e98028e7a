"""Builds the networks of an off-policy actor-critic, as its config has them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch

from gymnast.agents.encoder import Layers, make_backbone
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.policies import Policy
from gymnast.networks.build import Backbone, chosen_name
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork
from gymnast.networks.heads.members import Members
from gymnast.networks.layers.renorm import BatchRenorm


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
