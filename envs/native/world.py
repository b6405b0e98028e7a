"""One step of N games with everything around the rules: time limit, new episodes, statistics. Pure functions."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from gymnast.envs.native.draws import Draws, keys_of, next_keys
from gymnast.envs.native.game import Game, State
from gymnast.envs.step import Obs

Final: TypeAlias = "tuple[Tensor, State]"
"""Rows that ended in the last step, bool [N], and their states then; kept for pictures only."""


class World(NamedTuple):
    """N games in progress; every tensor except `begun` has the leading axis N."""

    state: State
    key: Tensor
    """int64 [N], of the episode: its draws are a function of it and of `length`."""
    length: Tensor
    """int64 [N], steps of the episode so far."""
    total: Tensor
    """float64 [N], rewards of the episode so far."""
    episode: Tensor
    """int64 [N], the episode's number, counted over all rows in the order in which they begin."""
    begun: Tensor
    """int64 [], episodes that have begun."""


class Moved(NamedTuple):
    """The results of one step, all with the leading axis N."""

    obs: Obs
    next_obs: Obs
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    ended: Tensor
    """Terminated or truncated."""
    total: Tensor
    """float64 [N], rewards of the episode, this step's included."""
    length: Tensor
    """int64 [N], its steps."""
    action_mask: Tensor | None
    next_action_mask: Tensor | None
    num_ended: int | None
    """Rows that ended; None if only the device knows."""


def begin(game: Game, key: Tensor) -> World:
    """New episodes by these keys, int64 [N]."""
    rows = torch.arange(len(key), device=key.device)
    length = torch.zeros_like(key)
    total = length.to(torch.float32 if key.device.type == "mps" else torch.float64)
    return World(game.initial(_first(key)), key, length, total, rows, torch.full_like(key[0], len(key)))


def advance(
    game: Game, world: World, action: Tensor, limit: int | None, seeds: Tensor | None = None
) -> tuple[World, Moved]:
    """Take an action [N, ...] in each row, and begin a new episode if one ended.

    `limit` truncates episodes at that many steps. `seeds`, int64 [K], are the seeds of the episodes by number.
    """
    after, reward, terminated = _play(game, world, action)
    length, total = world.length + 1, world.total + reward
    truncated = torch.zeros_like(terminated) if limit is None else length >= limit
    ended = terminated | truncated
    count = ended.cumsum(0)
    episode = torch.where(ended, world.begun + count - 1, world.episode)
    key = torch.where(ended, _keys(world.key, episode, seeds), world.key)
    state = choose(ended, game.initial(_first(key)), after)
    next_obs, next_mask = game.observe(after), game.action_mask(after)
    following = World(
        state,
        key,
        length.masked_fill(ended, 0),
        total.masked_fill(ended, 0.0),
        episode,
        world.begun + count[-1],
    )
    moved = Moved(
        game.observe(state),
        next_obs,
        reward,
        terminated,
        truncated,
        ended,
        total,
        length,
        None if next_mask is None else game.action_mask(state),
        next_mask,
        None,
    )
    return following, moved


def after(game: Game, world: World, action: Tensor) -> State:
    """The next state of an action, before new episodes begin."""
    return _play(game, world, action)[0]


def choose(rows: Tensor, state: State, other: State) -> State:
    """One state in `rows`, bool [N], the other elsewhere."""
    return {name: torch.where(_over(rows, value), value, other[name]) for name, value in state.items()}


def _play(game: Game, world: World, action: Tensor) -> tuple[State, Tensor, Tensor]:
    return game.step(world.state, action, Draws(world.key, world.length + 1))


def _over(rows: Tensor, value: Tensor) -> Tensor:
    return rows.view(-1, *[1] * (value.ndim - 1))


def _first(key: Tensor) -> Draws:
    """The draws of new episodes: the counter of a step is at least 1."""
    return Draws(key, torch.zeros_like(key))


def _keys(key: Tensor, episode: Tensor, seeds: Tensor | None) -> Tensor:
    """Of the episodes with these numbers: by their seeds, or those that follow in their rows past the last seed."""
    following = next_keys(key)
    if seeds is None:
        return following
    seeded = keys_of(seeds[episode.clamp(max=len(seeds) - 1)])
    return torch.where(episode < len(seeds), seeded, following)


def restart(game: Game, world: World, rows: Tensor) -> World:
    """New episodes in some rows, bool [N]."""
    count = rows.cumsum(0)
    key = torch.where(rows, next_keys(world.key), world.key)
    return World(
        choose(rows, game.initial(_first(key)), world.state),
        key,
        world.length.masked_fill(rows, 0),
        world.total.masked_fill(rows, 0.0),
        torch.where(rows, world.begun + count - 1, world.episode),
        world.begun + count[-1],
    )
