"""The interface of a learned reward."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths.means import shares, weighted_mean
from gymnast.envs.step import Obs, map_obs
from gymnast.networks.distributions.distributions import Distribution
from gymnast.replay.rollout import Rollout

AT_ONCE = 1024
"""Transitions whose rewards are computed together."""


class Played(NamedTuple):
    """The transitions of a rollout, B of them."""

    obs: Obs
    """[B, ...]"""
    action: Tensor
    """[B, ...], values of the action space."""
    terminated: Tensor
    """bool [B]."""
    weight: Tensor
    """float32 [B], 1 for rows that count, else 0."""


def by_parts(predict: Callable[[Obs, Tensor], Tensor], played: Played) -> Tensor:
    """What observations and actions are mapped to, [B], a part of the rollout at a time."""
    found = []
    for start in range(0, len(played.action), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        found.append(predict(map_obs(itemgetter(rows), played.obs), played.action[rows]))
    return torch.cat(found)


def mean_of(reward: Tensor, played: Played) -> Tensor:
    """The mean [] of the rewards [B] that count."""
    return weighted_mean(reward, shares(played.weight))


class LearnedReward(Protocol):
    """Gives the rewards of a rollout."""

    def __call__(self, played: Played) -> tuple[Tensor, Metrics]:
        """Rewards, float32 [B], and metrics; it may learn from the rollout first."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def replace(rollout: Rollout, learned: LearnedReward, distribution: Distribution) -> Metrics:
    """Write learned rewards over the environment's in a full rollout, whose actions are raw ones of `distribution`."""
    fields, weight = rollout.fields, rollout.weight
    obs = map_obs(lambda part: part.flatten(0, 1), fields["obs"])
    action = distribution.to_env(fields["raw"].flatten(0, 1))
    reward, metrics = learned(Played(obs, action, fields["terminated"].flatten(), weight.flatten()))
    fields["reward"].copy_(reward.view_as(weight))
    return metrics
