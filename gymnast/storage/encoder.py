"""Reading the trained backbone of a run, so that another agent may start from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.encoder import Layers
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.actor_critic_network import policy_layers
from gymnast.agents.policy.reinforce_config import ReinforceConfig
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.agents.value.q_network import normed_layers, q_layers
from gymnast.errors import UsageError, first_line
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import automatic, build, default_sizes_of
from gymnast.networks.gans.penalties import with_spectra
from gymnast.settings import agents
from gymnast.storage import rebuild, space_json
from gymnast.storage.checkpoint import About, find, read_agent

FIT = "fit"
"""The name of a fitted network in its checkpoint."""
PLACES: dict[type[Any], tuple[str, str]] = {
    DQNConfig: ("online", "backbone."),
    PQNConfig: ("network", "backbone."),
    ActorCriticConfig: ("network", "actor.backbone."),
    ReinforceConfig: ("network", "actor.backbone."),
}
"""Where the state of an agent has its backbone, by the class of its config: a part of it, and the names' prefix."""


@dataclass(frozen=True)
class Encoder:
    """A backbone with trained weights."""

    name: str
    """Of its network, as `networks.build` takes it."""
    options: dict[str, Any]
    hidden_sizes: tuple[int, ...] | None
    """Units of its fully connected layers; None for a user's own backbone, which has its own."""
    activation: str
    layer_norm: bool
    observation_space: gym.Space[Any]
    weights: dict[str, Tensor]
    """Its state dict, on the CPU."""
    source: str
    """The path that was given."""
    trained_on: str
    """The environment or data set."""
    agent: str
    """The agent that trained it, or fit."""
    norm: dict[str, Tensor] | None = None
    """The statistics by which its observations were normalised, if they were (`RunningNorm`)."""

    @property
    def layers(self) -> Layers:
        return Layers(self.hidden_sizes, self.activation, self.layer_norm)

    def build(self) -> nn.Module:
        """The backbone with its weights, [B, ...] to [B, out_features]; UsageError if they do not match.

        It reads observations as they are: with `norm`, normalise them first.
        """
        try:
            made = build(
                self.name,
                self.observation_space,
                options=self.options,
                hidden_sizes=self.hidden_sizes,
                activation=self.activation,
                layer_norm=self.layer_norm,
                generator=torch.Generator().manual_seed(0),
            )
            made.load_state_dict(self.weights)
        except (ValueError, RuntimeError) as error:
            raise UsageError(f"encoder {self.source}: {first_line(error)}") from None
        return made


def read_encoder(path: str | Path) -> Encoder:
    """The encoder of a run's folder (of its best checkpoint, else its last) or of a checkpoint file.

    Raises UsageError: no checkpoint, a damaged one, or one of an agent without a backbone.
    """
    about, state = read_agent(find(path))
    try:
        space = space_json.decode(about.observation_space)
        if about.agent == FIT:
            return _fitted(about, state, space, str(path))
        return _trained(about, state, space, str(path))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"encoder {path} is damaged: {first_line(error)}") from None


def _fitted(about: About, state: dict[str, Any], space: gym.Space[Any], source: str) -> Encoder:
    """The encoder of a fitted network, whose config describes the backbone directly."""
    config = about.config
    if "backbone" not in state:
        raise UsageError(f"encoder {source} fits {config['task']}, which has no backbone")
    name, sizes = _name(config["network"], space), config["hidden_sizes"]
    layers = Layers(
        default_sizes_of(name) if sizes is None else tuple(sizes), config["activation"], config["layer_norm"]
    )
    # auxiliary classifiers are heads of the fitted network, and no part of its backbone
    options = {key: value for key, value in config["network_options"].items() if key != "auxiliary"}
    weights = with_spectra(state["backbone"]) if config.get("spectral_norm") else state["backbone"]
    return _encoder(about, name, options, layers, space, weights, source)


def _trained(about: About, state: dict[str, Any], space: gym.Space[Any], source: str) -> Encoder:
    """The encoder of a trained agent; of separate trunks the policy's."""
    config = None
    if agents.is_builtin(about.agent):
        config = rebuild.config_of(about, agents.agent_class(about.agent))
    if type(config) not in PLACES:
        raise UsageError(f"encoder {source} is of {about.agent}, which has no backbone; use a run of a deep agent")
    assert config is not None
    part, prefix = PLACES[type(config)]
    name = _name(config.network, space)
    layers = Layers(**config.encoder_layers) if config.encoder_layers else layers_of(config, name, space)
    weights = _under(state[part], prefix)
    norm = _under(state[part], "norm.") or None
    return _encoder(about, name, config.network_options, layers, space, weights, source, norm)


def _encoder(
    about: About,
    name: str,
    options: Mapping[str, Any],
    layers: Layers,
    space: gym.Space[Any],
    weights: Mapping[str, Tensor],
    source: str,
    norm: dict[str, Tensor] | None = None,
) -> Encoder:
    for key, value in weights.items():
        if not value.isfinite().all():
            raise UsageError(f"encoder {source}: its weights {key} are infinite or not a number")
    sizes = None if ":" in name or layers.hidden_sizes is None else tuple(layers.hidden_sizes)
    return Encoder(
        name=name,
        options=dict(options),
        hidden_sizes=sizes,
        activation=layers.activation,
        layer_norm=layers.layer_norm,
        observation_space=space,
        weights=dict(weights),
        source=source,
        trained_on=about.env,
        agent=about.agent,
        norm=norm,
    )


def layers_of(config: Any, name: str, space: gym.Space[Any]) -> Layers:
    """The layers of the backbone of a deep agent's config."""
    if isinstance(config, DQNConfig):
        return q_layers(name, space, config)[0]
    if isinstance(config, PQNConfig):
        return normed_layers(name, space, config)
    return policy_layers(name, space, config)


def same_kind(one: gym.Space[Any], other: gym.Space[Any]) -> bool:
    """Whether the observations of two spaces are the same kind of tensors: shapes, dtypes, numbers of choices, keys."""
    if type(one) is not type(other) or one.shape != other.shape or one.dtype != other.dtype:
        return False
    if isinstance(one, spaces.Dict | spaces.Tuple):
        assert isinstance(other, spaces.Dict | spaces.Tuple)
        mine, theirs = _parts(one), _parts(other)
        return list(mine) == list(theirs) and all(same_kind(part, theirs[key]) for key, part in mine.items())
    if isinstance(one, spaces.Discrete | spaces.MultiDiscrete):
        return bool(one == other)
    return True


def described(space: gym.Space[Any]) -> str:
    """A space in a few words, without its bounds."""
    if isinstance(space, spaces.Box):
        return f"{np.dtype(space.dtype).name} {list(space.shape)}"
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return "{" + ", ".join(f"{key}: {described(part)}" for key, part in _parts(space).items()) + "}"
    return str(space)


def _parts(space: spaces.Dict | spaces.Tuple[Any]) -> dict[str, gym.Space[Any]]:
    named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
    return {str(key): part for key, part in named}


def _name(network: str, space: gym.Space[Any]) -> str:
    return automatic(space) if network == "auto" else network


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def same_options(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sets of options of a network mean the same."""
    return bool(options_of(name, one) == options_of(name, other))
