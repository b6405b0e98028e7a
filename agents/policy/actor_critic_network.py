"""The network of an actor-critic, as its config describes it."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import torch

from gymnast.agents.encoder import Layers, NetworkConfig, make_backbone
from gymnast.networks.build import Backbone, chosen_name, default_sizes
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.heads.actor_critic import ActorCriticNetwork, Trunk
from gymnast.networks.layers.images import has_image
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.normalise import RunningNorm
from gymnast.networks.layers.recurrent import RecurrentConfig, build_core
from gymnast.networks.modes import acting

MLP_SIZES = (64, 64)
"""Units of an MLP (Schulman et al. 2017, section 6.1)."""
POLICY_GAIN = 0.01
"""Scale of the policy's last layer, so that at first all actions are about as probable (Andrychowicz et al. 2021)."""


class PolicyConfig(RecurrentConfig, NetworkConfig, Protocol):
    """The network settings of a config."""

    @property
    def hidden_sizes(self) -> tuple[int, ...] | None: ...
    @property
    def activation(self) -> str: ...
    @property
    def trunk(self) -> str: ...
    @property
    def log_std_init(self) -> float: ...
    @property
    def normalise_obs(self) -> bool: ...


def actor_critic_network(
    backbone: Backbone,
    observation_space: gym.Space[Any],
    distribution: Distribution,
    config: PolicyConfig,
    generator: torch.Generator,
    *,
    num_values: int = 1,
    joint: bool = False,
) -> ActorCriticNetwork:
    """Observations to the distribution's outputs and to `values` values; the generator draws the weights.

    `joint` is for trunk auto: it then shares the trunk, as it does for images, for an encoder and for a module.
    """
    one = not isinstance(backbone, str | type)
    joint = joint or one or bool(config.encoder) or has_image(observation_space)
    shared = config.trunk == "shared" or (config.trunk == "auto" and joint)
    if one and not shared:
        raise ValueError("a backbone given as a module is one trunk: use trunk shared, or give its class")
    trunk = partial(_trunk, backbone, observation_space, config, generator)
    network = ActorCriticNetwork(
        trunk(),
        None if shared else trunk(),
        outputs=distribution.outputs,
        scales=distribution.scales,
        num_values=num_values,
        log_std=config.log_std_init,
        norm=RunningNorm(observation_space) if config.normalise_obs else None,
    )
    initialise(network.policy, config.init, activation=None, generator=generator, gain=POLICY_GAIN)
    initialise(network.value, config.init, activation=None, generator=generator)
    return acting(network)


def policy_layers(backbone: Backbone, observation_space: gym.Space[Any], config: PolicyConfig) -> Layers:
    """The layers of a backbone."""
    defaults = default_sizes(backbone, observation_space)
    mlp = chosen_name(backbone, observation_space) == "mlp"
    sizes = config.hidden_sizes
    if sizes is None:
        sizes = MLP_SIZES if mlp else defaults
    return Layers(sizes, config.activation)


def _trunk(
    backbone: Backbone, observation_space: gym.Space[Any], config: PolicyConfig, generator: torch.Generator
) -> Trunk:
    """A backbone and, if the config has one, a recurrent core after it."""
    layers = policy_layers(backbone, observation_space, config)
    base = make_backbone(backbone, observation_space, config, layers, generator=generator)
    core = build_core(config, int(base.out_features))  # type: ignore[arg-type]
    if core is not None:
        initialise(core, config.init, activation=None, generator=generator)
    return Trunk(base, core)
