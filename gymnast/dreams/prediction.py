"""The error of a world model's predictions against their horizon, over many moments of real episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.agents.base import WorldModel
from gymnast.dreams.distance import Distance
from gymnast.dreams.stream import Stream
from gymnast.envs.step import map_obs
from gymnast.errors import RunError

BATCH = 64
"""Predictions made together; their contexts of images take memory."""


@dataclass(frozen=True)
class Errors:
    """Errors of K predictions at the horizons 1 to H, and of the baselines; all [K, H]."""

    known: Tensor
    """bool: the real episode took this step."""
    obs: Tensor
    obs_repeated: Tensor
    """Of the last observation seen, repeated."""
    reward: Tensor
    """Absolute."""
    reward_repeated: Tensor
    """Of the last reward seen, repeated (0 where none was)."""
    end: Tensor
    """1 where the model ends the episode and the environment does not, or the other way round."""
    never_end: Tensor
    """Of a model that never ends an episode: 1 where the environment does."""


def starts_of(stream: Stream, *, context: int, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Moments to predict from, time and row int64 [K]: drawn from all that have so many steps before them.

    Raises RunError if there are none.
    """
    times, rows = stream.active[context - 1 :].nonzero().unbind(1)
    if not len(times):
        raise RunError(f"context {context}: only {len(stream)} steps in a row fit into memory")
    chosen = torch.randperm(len(times), generator=generator)[:most]
    return times[chosen] + context - 1, rows[chosen]


@torch.no_grad()
def measure(
    model: WorldModel,
    stream: Stream,
    *,
    context: int,
    horizon: int,
    starts: int,
    temperature: float,
    seed: int,
    told: Callable[[str], None] = lambda text: None,
) -> Errors:
    """Watch `context` real steps, then predict `horizon` steps from the actions taken, without seeing their results."""
    generator = torch.Generator(model.device).manual_seed(seed)
    chosen = starts_of(stream, context=context, most=starts, generator=torch.Generator().manual_seed(seed))
    distance = Distance(model.observation_space, stream.obs)
    parts: list[Errors] = []
    for time, row in zip(torch.split(chosen[0], BATCH), torch.split(chosen[1], BATCH), strict=True):
        told(f"predicting from {len(parts) * BATCH} of {len(chosen[0])} moments")
        state = watched(model, stream, time, row, context)
        parts.append(_predict(model, stream, state, time, row, horizon, distance, generator, temperature))
    return Errors(*(torch.cat(columns) for columns in zip(*map(_columns, parts), strict=True)))


def watched(model: WorldModel, stream: Stream, time: Tensor, row: Tensor, length: int) -> Tensor:
    """The model's state [K, M] after it has watched so many steps up to these moments, int64 [K]."""
    obs, action, start = stream.window(time, row, length)
    device = model.device
    return model.dream_after(map_obs(lambda part: part.to(device), obs), action.to(device), start.to(device))


def _columns(errors: Errors) -> list[Tensor]:
    return [getattr(errors, name) for name in Errors.__dataclass_fields__]


def _predict(
    model: WorldModel,
    stream: Stream,
    state: Tensor,
    time: Tensor,
    row: Tensor,
    horizon: int,
    distance: Distance,
    generator: torch.Generator,
    temperature: float,
) -> Errors:
    """The errors of one batch; `state` [K, M] has watched everything up to the moments `time`, `row` [K]."""
    columns: list[list[Tensor]] = [[] for _ in Errors.__dataclass_fields__]
    last_obs = map_obs(lambda part: part[time, row], stream.obs)
    began = stream.start[time, row] | (time == 0)
    last_reward = stream.reward[(time - 1).clamp(min=0), row].masked_fill(began, 0.0)
    alive = torch.ones(len(time), dtype=torch.bool)
    for ahead in range(horizon):
        now = (time + ahead).clamp(max=len(stream) - 1)
        alive = alive & (time + ahead < len(stream))
        imagined = model.dream_step(state, stream.action[now, row].to(model.device), generator, temperature=temperature)
        state = imagined.state
        truth, reward, terminated = stream.after(now, row), stream.reward[now, row], stream.terminated[now, row]
        found = (
            alive,
            distance(map_obs(Tensor.cpu, imagined.obs), truth),
            distance(last_obs, truth),
            (imagined.reward.cpu() - reward).abs(),
            (last_reward - reward).abs(),
            (imagined.terminated.cpu() != terminated).float(),
            terminated.float(),
        )
        for column, values in zip(columns, found, strict=True):
            column.append(values)
        alive = alive & ~stream.ended[now, row]
    return Errors(*(torch.stack(column, 1) for column in columns))
