"""Expert episodes, written by hand, and rollouts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.rewards.base import Played
from gymnast.replay.datasets.episodes import EpisodeData, read_dataset
from gymnast.replay.datasets.writer import DatasetWriter


class Episode(NamedTuple):
    """One episode: T + 1 observations, T actions, and whether it terminated or was cut off."""

    obs: Sequence[Any]
    actions: Sequence[Any]
    terminated: bool = True


def dataset(
    name: str, observation_space: gym.Space[Any], action_space: gym.Space[Any], episodes: Sequence[Episode]
) -> EpisodeData:
    """The episodes as a data set in Minari's folder; rewards are 1."""
    with DatasetWriter(name, observation_space=observation_space, action_space=action_space, num_envs=1) as writer:
        for episode in episodes:
            obs, actions = (torch.from_numpy(np.array(part)) for part in (episode.obs, episode.actions))
            for time in range(len(actions)):
                last = time == len(actions) - 1
                writer.add(
                    obs[time : time + 1],
                    actions[time : time + 1],
                    reward=torch.ones(1),
                    terminated=torch.tensor([last and episode.terminated]),
                    truncated=torch.tensor([last and not episode.terminated]),
                    next_obs=obs[time + 1 : time + 2],
                    rows=torch.zeros(1, dtype=torch.int64),
                    seeds=[0],
                )
        writer.finish({})
    return read_dataset(name)


def played(obs: Any, action: Tensor, *, terminated: Sequence[int] = ()) -> Played:
    """A rollout of these transitions, all of which count; those at `terminated` end an episode."""
    ends = torch.zeros(len(action), dtype=torch.bool)
    ends[list(terminated)] = True
    return Played(obs, action, ends, torch.ones(len(action)))
