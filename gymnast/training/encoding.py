"""The encoder that a new run starts from: its settings decide the config, and its weights go into the agent."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym

from gymnast.agents.base import Agent
from gymnast.agents.encoder import EncoderAgent, EncoderConfig
from gymnast.errors import UsageError, first_line
from gymnast.networks.layers.normalise import RunningNorm
from gymnast.storage.encoder import Encoder, described, layers_of, read_encoder, same_kind, same_options


def resolve(config: Any, space: gym.Space[Any], *, env: str) -> tuple[Any, Encoder | None]:
    """The config with the encoder's network, sizes and normalisation, and the encoder; unchanged without one.

    Raises ValueError in one line for settings that contradict it, or observations that it does not read.
    """
    if not isinstance(config, EncoderConfig):
        return config, None
    if not config.encoder:
        for name, off in (("freeze_encoder", False), ("encoder_learning_rate", None)):
            if getattr(config, name) != off:
                raise ValueError(f"{name} needs encoder RUN, the run or checkpoint to take it from")
        return config, None
    encoder = read_encoder(config.encoder)
    if not same_kind(encoder.observation_space, space):
        raise ValueError(
            f"encoder {encoder.source} reads {described(encoder.observation_space)} ({encoder.trained_on}), "
            f"but observations of {env} are {described(space)}"
        )
    _check_network(config, encoder, space)
    changes: dict[str, Any] = {
        "network": encoder.name,
        "network_options": encoder.options,
        "encoder_layers": dataclasses.asdict(encoder.layers),
    }
    changes |= _normalisation(config, encoder, space)
    return dataclasses.replace(config, **changes), encoder


def _check_network(config: Any, encoder: Encoder, space: gym.Space[Any]) -> None:
    """ValueError if the config asks for another network than the encoder's."""
    name = encoder.name
    source = f"encoder {encoder.source}"
    if ":" in name and config.network != name:
        raise ValueError(f"{source} is network {name}, code from outside gymnast; network {name} allows it")
    if config.network not in ("auto", name):
        raise ValueError(f"network {config.network} contradicts {source}, which is {name}")
    if not same_options(name, {**encoder.options, **config.network_options}, encoder.options):
        raise ValueError(f"network_options {config.network_options} contradict {source}: {encoder.options}")
    own = layers_of(config, name, space).hidden_sizes
    if config.hidden_sizes is not None and encoder.hidden_sizes is not None and own != encoder.hidden_sizes:
        given = " ".join(map(str, config.hidden_sizes))
        sizes = " ".join(map(str, encoder.hidden_sizes)) or "none"
        raise ValueError(f"hidden_sizes {given} contradict {source}, whose layers have {sizes}")


def _normalisation(config: Any, encoder: Encoder, space: gym.Space[Any]) -> dict[str, Any]:
    """The change of `normalise_obs` to what the encoder was trained on; ValueError if the agent cannot do the same."""
    wanted = getattr(config, "normalise_obs", None)
    if encoder.norm is None:
        if wanted and any(True for _ in RunningNorm(space).buffers()):
            raise ValueError(
                f"normalise_obs cannot be combined with encoder {encoder.source}, which reads observations as they are"
            )
        return {}
    if wanted is None:
        raise ValueError(
            f"encoder {encoder.source} reads normalised observations, which this agent does not have; "
            "ppo, a2c and reinforce do"
        )
    return {"normalise_obs": True}


def load(agent: Agent, encoder: Encoder) -> None:
    """Load the encoder's weights into an agent; ValueError if they are not those of its network."""
    if not isinstance(agent, EncoderAgent):
        raise UsageError(f"encoder: {type(agent).__name__} has no method load_encoder")
    try:
        agent.load_encoder(encoder.weights, encoder.norm)
    except RuntimeError as error:
        raise UsageError(f"encoder {encoder.source} does not match its own description: {first_line(error)}") from None
