"""An agent that starts with the weights of another run's, and with its network."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from gymnast.agents.base import Agent
from gymnast.errors import first_line
from gymnast.settings import agents
from gymnast.storage import checkpoint, rebuild

C = TypeVar("C")

SHAPE = (
    *("network", "network_options", "hidden_sizes", "activation", "layer_norm", "trunk", "recurrent", "memory_size"),
    *("recurrent_steps", "recurrent_layers", "recurrent_heads"),
    *("squash", "normalise_obs", "dueling", "values", "atoms", "v_min", "v_max", "quantiles", "noisy"),
)
"""Settings that say which weights an agent has, where its config has them."""
WEIGHTS = ("network", "online", "target")
"""The weights in the state of an agent."""


def with_network_of(config: C, path: str, cls: type[Any]) -> C:
    """The config with the network of a run; ValueError if it asks for another one, or the run has another agent."""
    about, _ = checkpoint.read_agent(checkpoint.find(path))
    if not agents.is_builtin(about.agent) or agents.agent_class(about.agent) is not cls:
        raise ValueError(f"init_from {path} holds the agent {about.agent}, whose weights {cls.__name__} cannot take")
    theirs, plain = rebuild.config_of(about, cls), agents.default_config(agents.name_of(cls))
    changes = {}
    for name in SHAPE:
        if not hasattr(theirs, name):
            continue
        mine, wanted = getattr(config, name), getattr(theirs, name)
        if mine not in (wanted, getattr(plain, name)):
            raise ValueError(f"{name} {mine} contradicts init_from {path}, which has {wanted}")
        changes[name] = wanted
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def start_from(agent: Agent, path: str) -> None:
    """Give an agent the weights of a run; ValueError if they do not fit."""
    _, theirs = checkpoint.read_agent(checkpoint.find(path))
    state = agent.state_dict()
    taken = {name: theirs[name] for name in WEIGHTS if name in state and name in theirs}
    if not taken:
        raise ValueError(f"init_from {path}: {type(agent).__name__} has no network to start with")
    state |= taken
    try:
        agent.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        why = first_line(error).rstrip(":")
        raise ValueError(
            f"init_from {path}: its weights do not fit the observations and actions here: {why}"
        ) from error
