"""The network of an actor-critic, as its config describes it."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import torch

from gymnast.networks.build import Backbone, build, default_sizes
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


class NetworkConfig(RecurrentConfig, Protocol):
    """The network settings of a config."""

    @property
    def network_options(self) -> dict[str, Any]: ...
    @property
    def hidden_sizes(self) -> tuple[int, ...] | None: ...
    @property
    def activation(self) -> str: ...
    @property
    def init(self) -> str: ...
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
    config: NetworkConfig,
    generator: torch.Generator,
    *,
    num_values: int = 1,
) -> ActorCriticNetwork:
    """Observations to the distribution's outputs and to `values` values; the generator draws the weights."""
    own = default_sizes(backbone, observation_space)
    mlp = own == default_sizes("mlp", observation_space)
    sizes = MLP_SIZES if config.hidden_sizes is None and mlp else config.hidden_sizes
    one = not isinstance(backbone, str | type)
    shared = config.trunk == "shared" or (config.trunk == "auto" and (one or has_image(observation_space)))
    if one and not shared:
        raise ValueError("a backbone given as a module is one trunk: use trunk shared, or give its class")
    trunk = partial(_trunk, backbone, observation_space, config, generator, hidden_sizes=sizes)
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


def _trunk(
    backbone: Backbone,
    observation_space: gym.Space[Any],
    config: NetworkConfig,
    generator: torch.Generator,
    *,
    hidden_sizes: tuple[int, ...] | None,
) -> Trunk:
    """A backbone and, if the config has one, a recurrent core after it."""
    base = build(
        backbone,
        observation_space,
        options=config.network_options,
        hidden_sizes=hidden_sizes,
        activation=config.activation,
        init=config.init,
        generator=generator,
    )
    core = build_core(config, int(base.out_features))  # type: ignore[arg-type]
    if core is not None:
        initialise(core, config.init, activation=None, generator=generator)
    return Trunk(base, core)
