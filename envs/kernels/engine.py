"""N rows of a game whose rules are those of one row, stepped in place by compiled code on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeGuard

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.allocator import keep_freed_pages
from gymnast.envs.kernels.advance import BOOK, OUTCOME, Shapes, compiled
from gymnast.envs.kernels.rules import RowRules, constants, records, views
from gymnast.envs.native.draws import next_keys
from gymnast.envs.native.game import Game
from gymnast.envs.native.world import Final, Moved, World
from gymnast.envs.step import Obs, children, tensor_dtype

ENDLESS = 2**62
"""A time limit that no episode reaches."""
SHARE = 2_048
"""Rows that a thread has at least: fewer take less time than the threads' coordination."""


class RowEngine:
    """The rows of a `NativeVectorEnv` on the CPU; the tensors of `world` are views of what each step overwrites."""

    def __init__(self, game: Game, rules: RowRules, rows: int, *, keep_final: bool) -> None:
        shapes = _shapes(game, masked=rules.allow is not None)
        self.kernels = compiled(rules, shapes)
        keep_freed_pages()
        self._rows = rows
        space = game.observation_space
        self._parts = [name for name, _, _ in children(space)] if _is_composite(space) else None
        self._state, self._options = records(rules.fields, rows), constants(rules.options)
        self._book, self._begun = np.zeros(rows, BOOK), torch.zeros((), dtype=torch.int64)
        state = views(self._state, rules.fields)
        book = {name: torch.from_numpy(self._book[name]) for name in ("key", "length", "total", "episode")}
        self.world = World(state, begun=self._begun, **book)
        self._outcomes = torch.from_numpy(np.zeros(rows, OUTCOME).view(np.int64))
        self._fixed = (self._state.ctypes.data, self._book.ctypes.data, self._options.ctypes.data)
        self._last = records(rules.fields, rows if keep_final else 0)
        self._last_views = views(self._last, rules.fields)
        self._ends = torch.zeros(3, rows, dtype=torch.bool)
        """Terminated, truncated, either."""
        self._none = torch.zeros(rows, dtype=torch.bool)
        self._obs_shape, self._obs_dtype = (rows, *shapes.obs), torch.from_numpy(np.empty(0, shapes.obs_dtype)).dtype
        self._mask_shape = (rows, shapes.mask) if shapes.mask else None
        self.final: Final | None = None

    def begin(self, keys: Tensor) -> None:
        """New episodes by these keys, int64 [N], numbered from 0."""
        self.world.key.copy_(keys)
        self.world.episode.copy_(torch.arange(self._rows))
        self._begun.fill_(self._rows)
        self._begin_in(~self._none)
        self.final = None

    def restart(self, rows: Tensor) -> None:
        """New episodes in some rows, bool [N]."""
        world = self.world
        world.key.copy_(torch.where(rows, next_keys(world.key), world.key))
        world.episode.copy_(torch.where(rows, world.begun + rows.cumsum(0) - 1, world.episode))
        self._begun += rows.sum()
        self._begin_in(rows.contiguous())

    def _begin_in(self, rows: Tensor) -> None:
        self.kernels.begin(*self._fixed, self._rows, rows.data_ptr())

    def observe(self) -> tuple[Obs, Tensor | None]:
        """The current observations [N, ...] and allowed actions, bool [N, A]."""
        obs, mask = self._new_obs(), self._new_mask()
        state, _, options = self._fixed
        self.kernels.observe(state, options, self._rows, obs.data_ptr(), _address(mask))
        return self._split(obs), mask

    def advance(self, action: Tensor, limit: int | None, seeds: Tensor | None) -> Moved:
        """One step of all rows, as `gymnast.envs.native.world.advance`."""
        action = action.contiguous()
        obs, next_obs, mask, next_mask = self._new_obs(), self._new_obs(), self._new_mask(), self._new_mask()
        reward, total = torch.empty(self._rows, dtype=torch.float32), torch.empty(self._rows, dtype=torch.float64)
        length = torch.empty(self._rows, dtype=torch.int64)
        tensors = (action, obs, next_obs, mask, next_mask, reward, self._ends, total, length)
        num_ended = self._advance(limit, seeds, tuple(map(_address, tensors)))
        if num_ended == 0:  # then nothing differs, and rows that are constant may be shared
            same = self._split(next_obs)
            ends = (self._none, self._none, self._none)
            moved = Moved(same, same, reward, *ends, total, length, next_mask, next_mask, 0)
        else:
            terminated, truncated, ended = self._ends.clone().unbind()
            after = self._split(obs), self._split(next_obs), reward
            moved = Moved(*after, terminated, truncated, ended, total, length, mask, next_mask, num_ended)
        self.final = (moved.ended, self._last_views) if len(self._last) else None
        return moved

    def fixed(self, limit: int | None, seeds: Tensor | None) -> tuple[int, ...]:
        """The arguments of `kernels.advance` that no step changes."""
        return (
            *self._fixed,
            self._begun.data_ptr(),
            self._rows,
            0,
            self._rows,
            ENDLESS if limit is None else limit,
            _address(seeds),
            0 if seeds is None else len(seeds),
            self._last.ctypes.data if len(self._last) else 0,
            self._outcomes.data_ptr(),
        )

    def _advance(self, limit: int | None, seeds: Tensor | None, addresses: tuple[int, ...]) -> int:
        """Step all rows, in several threads if there are many rows; how many episodes ended."""
        fixed, threads = self.fixed(limit, seeds), min(torch.get_num_threads(), self._rows // SHARE)
        if threads < 2 or seeds is not None:  # the key of a seeded episode depends on how many began before it
            return int(self.kernels.advance(*fixed, *addresses))
        bounds = [self._rows * number // threads for number in range(threads + 1)]
        counts = np.zeros((threads, 8), np.int64)  # of each thread in a cache line of its own
        parts = list(zip(counts, bounds, bounds[1:], strict=False))
        jobs = [
            (*fixed[:3], count.ctypes.data, fixed[4], first, stop, *fixed[7:], *addresses)
            for count, first, stop in parts
        ]
        list(_pool(threads).map(self.kernels.advance, *zip(*jobs, strict=True)))
        for count, first, stop in parts:  # until now the numbers of new episodes were counted from 0 in each part
            self._book["episode"][first:stop][self._ends[2, first:stop].numpy()] += int(self._begun)
            self._begun += int(count[0])
        return int(counts[:, 0].sum())

    def load(self, world: World) -> None:
        """Go on from another world of as many rows."""
        for name, value in world.state.items():
            self.world.state[name].copy_(value)
        for name in BOOK.names or ():
            getattr(self.world, name).copy_(getattr(world, name))
        self._begun.copy_(world.begun)
        self.final = None

    def _new_obs(self) -> Tensor:
        return torch.empty(self._obs_shape, dtype=self._obs_dtype)

    def _new_mask(self) -> Tensor | None:
        return None if self._mask_shape is None else torch.empty(self._mask_shape, dtype=torch.bool)

    def _split(self, obs: Tensor) -> Obs:
        if self._parts is None:
            return obs
        return {name: obs[:, at].contiguous() for at, name in enumerate(self._parts)}


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="gymnast-rows")


def _shapes(game: Game, *, masked: bool) -> Shapes:
    """Of one row; the parts of a Dict or Tuple space must be integers, which are one array in the rules."""
    space, dtype = game.observation_space, np.dtype(np.int64)
    if _is_composite(space):
        parts = children(space)
        assert all(isinstance(part, spaces.Discrete) for _, _, part in parts), space
        obs: tuple[int, ...] = (len(parts),)
    else:
        obs, dtype = space.shape or (), tensor_dtype(space)
    action: gym.Space[Any] = game.action_space
    box = isinstance(action, spaces.Box)
    return Shapes(obs, dtype, action.shape or (1,) if box else (), int(action.n) if masked else 0)  # type: ignore[attr-defined]


def _is_composite(space: gym.Space[Any]) -> TypeGuard[spaces.Dict | spaces.Tuple[Any]]:
    return isinstance(space, spaces.Dict | spaces.Tuple)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
