"""Samples of a population's members, grouped by member."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from gymnast.agents.maths.returns import gae
from gymnast.agents.samples import Behaviour
from gymnast.envs.step import Obs, map_obs
from gymnast.replay.rollout import Fields


class MemberSamples(NamedTuple):
    """Samples of all members, S or a minibatch of B of each."""

    obs: Obs
    """[M * S, ...]."""
    raw: Tensor
    """[M, S, ...], actions as sampled."""
    old: Behaviour
    """[M, S] and [M, S, 1]."""
    mask: Tensor | None
    """bool [M, S, A], the allowed actions."""


class MemberValueSamples(NamedTuple):
    """Samples of action values of all members, S or a minibatch of B of each."""

    obs: Obs
    """[M * S, ...]."""
    action: Tensor
    """int64 [M, S]."""
    target: Tensor
    """[M, S], the returns that values learn."""


AnySamples = TypeVar("AnySamples", MemberSamples, MemberValueSamples)


def by_member(field: Tensor, members: int) -> Tensor:
    """A field of a rollout [T, M * N, ...] as [M, T * N, ...]."""
    return field.unflatten(1, (members, -1)).transpose(0, 1).flatten(1, 2)  # type: ignore[no-any-return, no-untyped-call]


def obs_by_member(obs: Obs, members: int) -> Obs:
    """Observations [T, M * N, ...] as [M * T * N, ...]."""
    return map_obs(lambda part: by_member(part, members).flatten(0, 1), obs)


def samples(
    fields: Fields, obs: Obs, *, reward: Tensor, next_value: Tensor, gamma: Tensor, lam: Tensor
) -> MemberSamples:
    """The samples of a rollout's fields [T, M * N, ...], with advantages by GAE; gamma and lambda are [M].

    `obs` are the observations as the networks see them, `reward` [T, M * N] the rewards for learning, and `next_value`
    [M, T * N] the values of the successors.
    """
    members, steps = len(gamma), len(reward)

    def split(field: Tensor) -> Tensor:  # [T, M * N] to [T, M, N]
        return field.view(steps, members, -1)

    value, ended = split(fields["value"]), split(fields["ended"])
    discount = gamma.unsqueeze(1) * (1.0 - split(fields["terminated"]).float())  # truncation keeps the bootstrap
    following = next_value.view(members, steps, -1).transpose(0, 1)
    advantage = gae(split(reward), discount, value, following, ended, lam.unsqueeze(1))
    log_prob, advantage, value, target = (
        part.transpose(0, 1).flatten(1, 2)  # [T, M, N] to [M, T * N]
        for part in (split(fields["log_prob"]), advantage, value, advantage + value)
    )
    old = Behaviour(log_prob, advantage, value.unsqueeze(2), target.unsqueeze(2))
    mask = by_member(fields["mask"], members) if "mask" in fields else None
    return MemberSamples(obs, by_member(fields["raw"], members), old, mask)


def chosen(whole: AnySamples, index: Tensor) -> AnySamples:
    """The samples with these numbers, [M, B], counted over all members."""

    def taken(part: Tensor) -> Tensor:  # [M * S, ...] to [M * B, ...]
        return part.index_select(0, index.flatten())

    def of_members(part: Any) -> Any:
        if isinstance(part, Behaviour):
            return Behaviour(*map(of_members, part))
        return None if part is None else taken(part.flatten(0, 1)).view(*index.shape, *part.shape[2:])

    obs, *others = whole
    return type(whole)(map_obs(taken, obs), *map(of_members, others))
