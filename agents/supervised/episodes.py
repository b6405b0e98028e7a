"""What tasks over recorded episodes share: splits by episode, and batches of transitions."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gymnast.agents.base import torch_seed
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import Task, hidden_head
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Obs
from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.replay.datasets.splits import by_episode


class Transitions(NamedTuple):
    """A batch of B transitions; what a task does not read is None."""

    rows: Tensor
    """Their numbers, int64 [B], on the host."""
    obs: Obs
    action: Tensor
    next_obs: Obs = None
    target: Any = None


class OfEpisodes(Task):
    """A task over the transitions of an `EpisodeData`, split by episode."""

    reads_next = False
    """Whether batches have the next observations."""

    def __init__(self, source: Source, config: FitConfig, *, device: torch.device) -> None:
        if not isinstance(source.data, EpisodeData):
            raise ValueError(f"{self.name} needs recorded episodes, and {source.data.name} is a labelled data set")
        self.data, self.config, self.device = source.data, config, device
        self.observation_space, self.action_space = self.data.observation_space, self.data.action_space
        self.env = self.data.env
        self.env_settings = of_env(self.data)
        self.check_augment()
        self.train, self.validation = by_episode(self.data, validation=source.validation, seed=source.split_seed)
        self.test = self.validation
        self.generator = torch.Generator().manual_seed(torch_seed(source.seed))

    def inputs(self, index: Tensor) -> Obs:
        return self.data.observations(index)

    def batch(self, index: Tensor) -> Transitions:
        data = self.data
        return Transitions(
            index,
            on(data.observations(index), self.device),
            data.actions(index).to(self.device),
            on(data.next_observations(index), self.device) if self.reads_next else None,
        )

    def head(self, inputs: int, outputs: int) -> nn.Sequential:
        """One hidden layer and a linear one, their weights drawn as the config says."""
        made = hidden_head(inputs, outputs)
        initialise(made[0], self.config.init, activation="relu", generator=self.generator)
        initialise(made[2], self.config.init, activation=None, generator=self.generator)
        return made


def of_env(data: EpisodeData) -> dict[str, Any]:
    """Options under which the environment of the data gives such observations."""
    settings = data.about.get("gymnast_env_settings", {})
    return {
        "env_options": json.dumps(settings.get("options") or {}),
        "wrapper": list(settings.get("wrappers") or ()),
        "max_episode_steps": settings.get("max_episode_steps"),
        "frame_stack": settings.get("frame_stack", 1),
    }


def on(obs: Obs, device: torch.device) -> Obs:
    """Observations on a device."""
    if isinstance(obs, dict):
        return {key: on(part, device) for key, part in obs.items()}
    return obs.to(device)
