"""A data set without information, over which the network of a checkpoint is built before its weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.supervised.source import Source
from gymnast.networks.own import observations
from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.replay.datasets.files import Metadata
from gymnast.replay.datasets.frames import Resident
from gymnast.replay.datasets.hdf5 import Contents
from gymnast.replay.datasets.labelled import Labelled
from gymnast.replay.layout import Layout

HALF = 0.5
"""Share of the validation examples: of two episodes one."""


def blank(data: Labelled | EpisodeData, *, epochs: int) -> Source:
    """A source of such data; its seed does not matter, because all weights are replaced."""
    return Source(data, validation=HALF, split_seed=0, seed=np.random.SeedSequence(0), epochs=epochs)


def blank_labelled(space: gym.Space[Any], classes: tuple[str, ...], shape: tuple[int, ...]) -> Labelled:
    """Two examples, each with the first class or with zeros, of this shape."""
    inputs: Any = observations(space, torch.device("cpu"))
    targets = torch.zeros((2, *shape), dtype=torch.int64 if classes else torch.float32)
    return Labelled("blank", space, inputs, targets, classes)


def blank_episodes(space: gym.Space[Any], action_space: gym.Space[Any], env: str | None) -> EpisodeData:
    """Two episodes of two steps, all observations and actions the lowest of their spaces."""
    layout = Layout(space)
    lowest, action = (observations(one, torch.device("cpu")) for one in (space, action_space))
    frames = [Resident(tensor[:1].repeat(6, *[1] * (tensor.dim() - 1)), fill="zero") for tensor in layout.split(lowest)]
    contents = Contents(
        path=Path(),
        starts=np.array([0, 2, 4]),
        actions=action.repeat(2, *[1] * (action.dim() - 1)).numpy(),
        rewards=np.zeros(4, np.float32),
        terminated=np.zeros(4, np.bool_),
        truncated=np.array([False, True, False, True]),
        seeds=(None, None),
        observations=(),
    )
    about = Metadata("blank", env, space, action_space, 2, 4, 1, "zero", {})
    return EpisodeData(about, contents, layout, frames)
