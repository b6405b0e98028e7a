"""Reading the network of a run of `gymnast fit reward`, so that an agent may learn from its predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from torch import Tensor

from gymnast.agents.supervised.reward_network import LAYERS
from gymnast.errors import UsageError, first_line
from gymnast.storage import space_json
from gymnast.storage.checkpoint import find, read_agent
from gymnast.storage.fitted import FIT

TASK = "reward"


@dataclass(frozen=True)
class FittedReward:
    """A network that predicts rewards, with its weights."""

    settings: dict[str, Any]
    """The `LAYERS` of its config."""
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    weights: dict[str, Tensor]
    """The state dict of its `RewardNetwork`, on the CPU."""
    source: str
    """The path that was given."""
    fitted_to: str
    """The environment of its data."""


def read_reward_model(path: str | Path) -> FittedReward:
    """The reward model of a run's folder (of its best checkpoint, else its last) or of a checkpoint file.

    Raises UsageError: no checkpoint, a damaged one, or one of anything else.
    """
    about, state = read_agent(find(path))
    kind = about.config.get("task") if about.agent == FIT else about.agent
    if kind != TASK:
        raise UsageError(f"reward_model {path} is of {kind}; use a run of gymnast fit {TASK}")
    try:
        settings = {name: about.config[name] for name in LAYERS}
        observed, acted = (space_json.decode(space) for space in (about.observation_space, about.action_space))
        weights = {f"{part}.{name}": value for part in ("backbone", "heads") for name, value in state[part].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"reward_model {path} is damaged: {first_line(error)}") from None
    if ":" in settings["network"]:
        raise UsageError(
            f"reward_model {path} is of network {settings['network']}, code from outside gymnast; it needs a network "
            "of gymnast list networks"
        )
    for name, value in weights.items():
        if not value.isfinite().all():
            raise UsageError(f"reward_model {path}: its weights {name} are infinite or not a number")
    return FittedReward(settings, observed, acted, weights, str(path), about.env)
