"""Running statistics of many agents at once: each has its own, of equally many values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.normalise import EPS, Moments, RunningScale

CLIP = 10.0
PREFIX = "norm.moments."
"""Prefix of the statistics' names in the state of a single agent's network."""


class StackedNorm:
    """Like `RunningNorm`, for M agents and observations [M * B, ...], grouped by member.

    Raises:
        ValueError: for observations of several parts.
    """

    def __init__(self, observation_space: gym.Space[Any], members: int, *, device: torch.device) -> None:
        space = observation_space
        if isinstance(space, spaces.Dict | spaces.Tuple):
            raise ValueError("normalise_obs in a population needs plain observations, not a Dict or Tuple")
        self.members, self.device = members, device
        self.moments: Moments | None = None
        if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self.moments = Moments((members, *space.shape), device=device)

    def __call__(self, obs: Obs) -> Obs:
        """Observations shifted and scaled by their members' statistics, clipped; float32."""
        if self.moments is None:
            return obs
        rows = obs.view(self.members, -1, *obs.shape[1:])
        mean, scale = self.moments.mean.unsqueeze(1), (self.moments.var + EPS).rsqrt().unsqueeze(1)
        return ((rows - mean) * scale).clamp(-CLIP, CLIP).float().view(obs.shape)

    def update(self, obs: Obs) -> None:
        """Count observations [M * S, ...]."""
        if self.moments is not None:
            self.moments.update(obs.view(self.members, -1, *obs.shape[1:]).transpose(0, 1))

    def state(self) -> dict[str, Tensor]:
        """A copy of the statistics, all [M, ...], by the names of a single agent's."""
        if self.moments is None:
            return {}
        moments = self.moments
        values = {"count": moments.count.expand(self.members), "mean": moments.mean, "var": moments.var}
        return {PREFIX + name: value.clone() for name, value in values.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load statistics from `state`."""
        if self.moments is not None:
            self.moments.count.copy_(state[f"{PREFIX}count"][0])
            self.moments.mean.copy_(state[f"{PREFIX}mean"])
            self.moments.var.copy_(state[f"{PREFIX}var"])


class StackedScale(RunningScale):
    """A `RunningScale` for each of M members, of their N streams, which are in member order: M * N in all."""

    def __init__(self, members: int, streams: int, *, device: torch.device) -> None:
        super().__init__(device=device)
        self.streams = streams
        for name in ("mean", "var"):
            setattr(self, name, getattr(self, name).expand(members).clone())

    def update(self, values: Tensor, weight: Tensor | None = None) -> None:
        """Count values [T, M * N]; all of them, regardless of their weight."""
        super().update(values.view(len(values), -1, self.streams).transpose(1, 2))

    def std(self) -> Tensor:
        """Standard deviation of each stream's member, float32 [M * N]."""
        return super().std().repeat_interleave(self.streams)
