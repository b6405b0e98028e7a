"""Turns a rollout into the samples that an agent learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.envs.step import Obs, map_obs


class Behaviour(NamedTuple):
    """Steps as the acting policy saw them; an actor-critic's loss compares the current policy with it.

    The learner, its compiled loss and populations share these fields; a population's have a leading axis of members.
    """

    log_prob: Tensor
    """[B], of the actions when sampled."""
    advantage: Tensor
    """[B]."""
    value: Tensor
    """[B, V]."""
    target: Tensor
    """[B, V], the estimated returns that values learn."""


class Samples(NamedTuple):
    """S samples of an actor-critic, and minibatches of them: steps, or sequences of L steps of a recurrent policy.

    In a minibatch the steps of its sequences follow each other, B = S * L rows; before that they are [S, L, ...].
    """

    obs: Obs
    raw: Tensor
    """[B, ...], actions as sampled."""
    old: Behaviour
    weight: Tensor
    """float32 [B], 1 for rows that count, else 0."""
    mask: Tensor | None = None
    """bool [B, A], the allowed actions."""
    start: Tensor | None = None
    """bool [S, L], the memory is zero before this step."""
    memory: Tensor | None = None
    """[S, M], before the first step of each sequence."""
    next_obs: Obs | None = None
    """[B, ...], the true successors, for an auxiliary loss that needs them."""
    reward: Tensor | None = None
    """[B], as learned from, for an auxiliary loss."""


class ValueSamples(NamedTuple):
    """Samples of action values and minibatches of them, all [B, ...]."""

    obs: Obs
    action: Tensor
    target: Tensor
    weight: Tensor
    """float32 [B], 1 for rows that count, else 0."""


AnySamples = TypeVar("AnySamples", Samples, ValueSamples)


@dataclass(frozen=True, slots=True)
class Drawn(Generic[AnySamples]):
    """A minibatch that is not yet gathered: which of the samples it has."""

    samples: AnySamples
    index: Tensor | None
    """int64 [B], None for all in their order."""

    @property
    def weight(self) -> Tensor:
        """Of the minibatch's steps, [B]."""
        weight = self.samples.weight
        return (weight if self.index is None else weight[self.index]).flatten()

    def gathered(self) -> AnySamples:
        if self.index is None:
            return self.samples
        return _map(self.samples, partial(torch.Tensor.index_select, dim=0, index=self.index))

    def numbers(self) -> NDArray[Any]:
        """`index`, for compiled code."""
        return np.arange(len(self.samples.weight)) if self.index is None else self.index.numpy()


def minibatches(samples: AnySamples, count: int, generator: torch.Generator) -> Iterator[Drawn[AnySamples]]:
    """`count` random parts of the samples, whose sizes differ by at most one; every sample is in one part."""
    if count == 1:
        yield Drawn(samples, None)
        return
    weight = samples.weight
    order = torch.rand(len(weight), generator=generator, device=weight.device).argsort()
    for index in order.tensor_split(count):
        yield Drawn(samples, index)


def cut(fields: Samples, length: int | None) -> Samples:
    """Fields [T, N, ...] as samples: steps [T * N, ...], or sequences [T / L * N, L, ...] of length L.

    A sequence keeps the `memory` of its first step, [S, M]. `start`, which a rollout stores with the step before, is
    shifted to its own step.
    """
    if length is None:
        return _map(fields, lambda part: part.flatten(0, 1))
    assert fields.start is not None
    assert fields.memory is not None
    start = _in_parts(fields.start.roll(1, 0), length)
    start[:, 0] = False  # the memory before the first step is given
    memory = _in_parts(fields.memory, length)[:, 0].flatten(0, 1)  # [T / L, N, M] to [S, M]
    plain = _map(fields._replace(start=None, memory=None), lambda part: _sequences(_in_parts(part, length)))
    return plain._replace(start=_sequences(start), memory=memory)


def uncut(values: Tensor, length: int | None, steps: int, num_envs: int) -> Tensor:
    """Results of all samples' steps, [T * N, ...], put back in time order: [T, N, ...]."""
    if length is None:
        return values.view(steps, num_envs, *values.shape[1:])
    return values.view(steps // length, num_envs, length, *values.shape[1:]).transpose(1, 2).flatten(0, 1)


def _in_parts(field: Tensor, length: int) -> Tensor:
    """[T, N, ...] to [T / L, L, N, ...]."""
    return field.view(-1, length, *field.shape[1:])


def _sequences(field: Tensor) -> Tensor:
    """[T / L, L, N, ...] to [T / L * N, L, ...]."""
    return field.transpose(1, 2).flatten(0, 1)


def as_steps(samples: AnySamples) -> AnySamples:
    """Sequences [S, L, ...] as their steps, [S * L, ...]; single steps unchanged."""
    if isinstance(samples, ValueSamples) or samples.start is None:
        return samples
    plain = _map(samples._replace(start=None, memory=None), lambda part: part.flatten(0, 1))
    return plain._replace(start=samples.start, memory=samples.memory)


def _map(samples: AnySamples, function: Callable[[Tensor], Tensor]) -> AnySamples:
    return type(samples)(*(_mapped(part, function) for part in samples))


def _mapped(part: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(part, Behaviour):
        return Behaviour(*(function(field) for field in part))
    return None if part is None else map_obs(function, part)
