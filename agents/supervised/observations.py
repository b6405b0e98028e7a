"""Observations without labels: of recorded episodes, or the inputs of a labelled data set."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gymnast.agents.base import torch_seed
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.episodes import of_env, on
from gymnast.agents.supervised.labelled import splits_of
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import Task
from gymnast.networks.layers.inputs import Obs
from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.replay.datasets.splits import by_episode

SAMPLE = 10_000
"""Observations from which the scale of what is restored is taken."""


class Observations(NamedTuple):
    """A batch of B observations."""

    rows: Tensor
    """Their numbers, int64 [B], on the host."""
    obs: Obs


class OfObservations(Task):
    """A task over observations, split by episode if they have episodes."""

    def __init__(self, source: Source, config: FitConfig, *, device: torch.device) -> None:
        self.data, self.config, self.device = source.data, config, device
        if isinstance(self.data, EpisodeData):
            self.observation_space, self.action_space = self.data.observation_space, self.data.action_space
            self.env, self.env_settings = self.data.env, of_env(self.data)
            self.train, self.validation = by_episode(self.data, validation=source.validation, seed=source.split_seed)
            self.test = self.validation
        else:
            self.observation_space = self.data.space
            self.train, self.validation, self.test = splits_of(self.data, source)
        self.check_augment()
        self.generator = torch.Generator().manual_seed(torch_seed(source.seed))

    def inputs(self, index: Tensor) -> Obs:
        return self.data.observations(index) if isinstance(self.data, EpisodeData) else self.data.inputs[index]

    def batch(self, index: Tensor) -> Observations:
        return Observations(index, on(self.inputs(index), self.device))

    def sample(self, most: int = SAMPLE) -> Obs:
        """Training observations from which scales are taken, on the host; about `most`, if there are so many."""
        return self.inputs(self.train[:: max(len(self.train) // most, 1)])

    def observed(self, values: Tensor) -> Obs:
        """Of a network that restores or generates what a `Target`, its head `target`, makes of observations."""
        found: Obs = self.network.heads["target"].observed(values)  # type: ignore[union-attr, index]
        return found
