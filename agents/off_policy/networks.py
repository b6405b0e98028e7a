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
from gymnast.networks.heads.recurrent_critics import History, RecurrentCriticNetwork, RecurrentPolicyNetwork
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.recurrent import Core
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
    features = int(encoder.out_features)  # type: ignore[arg-type]
    history = _history(features, action_size or choices, config, generator)
    critics = Members(
        (history.out_features if history else features) + action_size,
        config.hidden_sizes,
        choices * outputs,
        members=config.critics,
        activation=config.activation,
        norm=config.critic_norm,
        dropout=config.dropout,
        init=config.init,
        generator=generator,
    )
    _warmed(critics, config)
    if history is None:
        return CriticNetwork(encoder, critics, choices=choices, outputs=outputs)
    return RecurrentCriticNetwork(encoder, history, critics, choices=choices, outputs=outputs)


def policy_network(
    features: int, policy: Policy, config: OffPolicyActorCriticConfig, *, generator: torch.Generator
) -> PolicyNetwork:
    """A policy on `features` numbers of an encoder."""
    history = _history(features, policy.noise_size or policy.outputs, config, generator)
    layers = Members(
        history.out_features if history else features,
        config.policy_hidden_sizes or config.hidden_sizes,
        policy.outputs,
        members=1,
        activation=config.activation,
        norm=config.policy_norm,
        init=config.init,
        generator=generator,
    )
    _warmed(layers, config)
    return PolicyNetwork(layers) if history is None else RecurrentPolicyNetwork(history, layers)


def _history(
    features: int, actions: int, config: OffPolicyActorCriticConfig, generator: torch.Generator
) -> History | None:
    """The memory between an encoder and the layers above it, None without one."""
    if config.recurrent == "none":
        return None
    core = Core(config.recurrent, features + actions, config.memory_size)
    initialise(core, config.init, activation=None, generator=generator)
    return History(core, features)


def _warmed(layers: Members, config: OffPolicyActorCriticConfig) -> None:
    for module in layers.modules():
        if isinstance(module, BatchRenorm):
            module.warm_up = config.norm_warm_up
