"""What tasks share that learn from observations only: labelled examples without their labels, or recorded episodes."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.agents.base import torch_seed
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.episodes import env_settings, on
from gymnast.agents.supervised.labelled import splits_of
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import Task
from gymnast.networks.layers.inputs import Obs
from gymnast.replay.datasets.labelled import Labelled
from gymnast.replay.datasets.splits import by_episode


class OfObservations(Task):
    """A task over the inputs of a `Labelled` or the observations of an `EpisodeData`; a batch is observations."""

    def __init__(self, source: Source, config: FitConfig, *, device: torch.device) -> None:
        self.data, self.config, self.device = source.data, config, device
        if isinstance(self.data, Labelled):
            self.observation_space = self.data.space
            self.train, self.validation, self.test = splits_of(self.data, source)
        else:
            self.observation_space, self.action_space = self.data.observation_space, self.data.action_space
            self.env, self.env_settings = self.data.env, env_settings(self.data)
            self.train, self.validation = by_episode(self.data, validation=source.validation, seed=source.split_seed)
            self.test = self.validation
        self.check_augment()
        self.generator = torch.Generator().manual_seed(torch_seed(source.seed))

    def inputs(self, index: Tensor) -> Obs:
        if isinstance(self.data, Labelled):
            return self.data.inputs[index]
        return self.data.observations(index)

    def batch(self, index: Tensor) -> Obs:
        return on(self.inputs(index), self.device)
