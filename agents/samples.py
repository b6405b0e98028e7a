"""From a rollout to the samples that an actor-critic learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gymnast.agents.maths.means import shares
from gymnast.envs.step import Obs, map_obs


class Samples(NamedTuple):
    """S samples, and minibatches of them: steps, or sequences of L steps where the policy is recurrent.

    In a minibatch the steps of its sequences follow each other, B = S * L rows; before that they are [S, L, ...].
    """

    obs: Obs
    raw: Tensor
    """[B, ...], actions as they were drawn."""
    numbers: Tensor
    """float32 [B, 3 + 2 V], see `columns`."""
    mask: Tensor | None = None
    """bool [B, A], the actions that were allowed."""
    start: Tensor | None = None
    """bool [S, L], the memory is zero before this step."""
    memory: Tensor | None = None
    """[S, M], before the first step of each sequence."""

    @property
    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Log-probability when drawn, advantage, share of the mean, each [B]; old values and targets, each [B, V]."""
        columns = self.numbers.t().contiguous()
        log_prob, advantage, count = columns[:3].unbind(0)
        old_value, target = columns[3:].t().chunk(2, 1)
        return log_prob, advantage, shares(count), old_value, target


def minibatches(samples: Samples, count: int, generator: torch.Generator) -> Iterator[Samples]:
    """So many parts of the samples, chosen at random and of equal size within one; every sample is in one of them."""
    numbers = samples.numbers
    if count == 1:
        yield as_steps(samples)
        return
    order = torch.rand(len(numbers), generator=generator, device=numbers.device).argsort()
    for index in order.tensor_split(count):
        yield as_steps(_map(samples, partial(torch.Tensor.index_select, dim=0, index=index)))


def cut(fields: Samples, length: int | None) -> Samples:
    """Fields [T, N, ...] as samples: steps [T * N, ...], or sequences [T / L * N, L, ...] of a length L.

    Of `memory` the first step's is kept, [S, M]; of `start`, which says so of the next step, what it says of these.
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
    """What was computed of all samples' steps, [T * N, ...], in its place in time: [T, N, ...]."""
    if length is None:
        return values.view(steps, num_envs, *values.shape[1:])
    return values.view(steps // length, num_envs, length, *values.shape[1:]).transpose(1, 2).flatten(0, 1)


def _in_parts(field: Tensor, length: int) -> Tensor:
    """[T, N, ...] to [T / L, L, N, ...]."""
    return field.view(-1, length, *field.shape[1:])


def _sequences(field: Tensor) -> Tensor:
    """[T / L, L, N, ...] to [T / L * N, L, ...]."""
    return field.transpose(1, 2).flatten(0, 1)


def as_steps(samples: Samples) -> Samples:
    """Sequences [S, L, ...] as the steps that they are of, [S * L, ...]; single steps as they are."""
    if samples.start is None:
        return samples
    plain = _map(samples._replace(start=None, memory=None), lambda part: part.flatten(0, 1))
    return plain._replace(start=samples.start, memory=samples.memory)


def _map(samples: Samples, function: Callable[[Tensor], Tensor]) -> Samples:
    return Samples(*(None if part is None else map_obs(function, part) for part in samples))  # type: ignore[arg-type]
