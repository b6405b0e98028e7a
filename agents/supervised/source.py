"""Where the examples of a task come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from gymnast.agents.base import Agent
from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.replay.datasets.labelled import Labelled


@dataclass(frozen=True)
class Source:
    """The data of a task, how they are split, and an agent that labels them."""

    data: Labelled | EpisodeData
    validation: float
    """Share of the examples (of episodes: whole ones) that are kept for validation."""
    split_seed: int
    seed: np.random.SeedSequence
    """Of the initial weights and other random choices."""
    epochs: int
    """Passes over the training data."""
    teacher: Agent | None = None
    """An agent whose actions or distribution are learned, instead of those of the data."""
    encoder: nn.Module | None = None
    """A trained network whose features the measures compare."""
