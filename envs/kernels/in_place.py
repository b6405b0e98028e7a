"""N rows of a game whose rules are those of one row, on any device: structs that compiled code changes in place."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeGuard

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.kernels.advance import BOOK, Shapes
from gymnast.envs.kernels.rules import Field, RowRules, records
from gymnast.envs.native.draws import next_keys
from gymnast.envs.native.game import Game
from gymnast.envs.native.world import Final, Moved, World
from gymnast.envs.step import Obs, children, tensor_dtype

ENDLESS = 2**62
"""A time limit that no episode reaches."""
BOOKED: tuple[Field, ...] = tuple((name, BOOK.fields[name][0]) for name in BOOK.names or ())  # type: ignore[index]


class InPlace:
    """An `Engine` without the compiled code; the tensors of `world` are views of what each step overwrites.

    A row's state is one struct, because that is what the rules of one row take: on a GPU too, where the threads of a
    warp read neighbouring structs, of which they need all bytes.
    """

    def __init__(self, game: Game, rules: RowRules, rows: int, *, keep_final: bool) -> None:
        self.shapes = _shapes(game, masked=rules.allow is not None)
        self.device, self._rows = game.device, rows
        self._parts = _parts(game.observation_space)
        self._begun = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._state, state = structs(rules.fields, rows, self.device)
        self._book, book = structs(BOOKED, rows, self.device)
        self._last, self._last_views = structs(rules.fields, rows if keep_final else 0, self.device)
        self.world = World(state, begun=self._begun[0], **book)
        self._none = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self._obs_dtype = torch.from_numpy(np.empty(0, self.shapes.obs_dtype)).dtype
        self.final: Final | None = None

    @abstractmethod
    def begin_in(self, rows: Tensor) -> None:
        """New episodes, of the keys in the book, in some rows, bool [N]."""

    @abstractmethod
    def show_all(self, obs: Tensor, mask: Tensor | None) -> None:
        """Write the current observations and allowed actions."""

    @abstractmethod
    def advance(self, action: Tensor, limit: int | None, seeds: Tensor | None) -> Moved:
        """One step of all rows, as `gymnast.envs.native.world.advance`."""

    def begin(self, keys: Tensor) -> None:
        """New episodes by these keys, int64 [N], numbered from 0."""
        self.world.key.copy_(keys)
        self.world.episode.copy_(torch.arange(self._rows, device=self.device))
        self._begun.fill_(self._rows)
        self.begin_in(~self._none)
        self.final = None

    def restart(self, rows: Tensor) -> None:
        """New episodes in some rows, bool [N]."""
        world = self.world
        world.key.copy_(torch.where(rows, next_keys(world.key), world.key))
        world.episode.copy_(torch.where(rows, world.begun + rows.cumsum(0) - 1, world.episode))
        self._begun += rows.sum()
        self.begin_in(rows.contiguous())

    def observe(self) -> tuple[Obs, Tensor | None]:
        """The current observations [N, ...] and allowed actions, bool [N, A]."""
        obs, mask = self._new_obs(), self._new_mask()
        self.show_all(obs, mask)
        return self._split(obs), mask

    def load(self, world: World) -> None:
        """Go on from another world of as many rows."""
        for name, value in world.state.items():
            self.world.state[name].copy_(value)
        for name in BOOK.names or ():
            getattr(self.world, name).copy_(getattr(world, name))
        self.world.begun.copy_(world.begun)
        self.final = None

    def _new_obs(self) -> Tensor:
        return torch.empty((self._rows, *self.shapes.obs), dtype=self._obs_dtype, device=self.device)

    def _new_mask(self) -> Tensor | None:
        count = self.shapes.mask
        return torch.empty(self._rows, count, dtype=torch.bool, device=self.device) if count else None

    def _split(self, obs: Tensor) -> Obs:
        if self._parts is None:
            return obs
        return {name: obs[:, at].reshape(len(obs), *shape).contiguous() for name, at, shape in self._parts}


def structs(fields: tuple[Field, ...], rows: int, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """Memory of N zeroed structs, uint8 [N * bytes], and its fields as tensors [N, ...] on the same memory."""
    layout = records(fields, 0).dtype
    memory = torch.zeros(rows * layout.itemsize, dtype=torch.uint8, device=device)
    return memory, {name: _view(memory, rows, layout, name, np.dtype(kind)) for name, kind, *_ in fields}


def _view(memory: Tensor, rows: int, layout: np.dtype[Any], name: str, kind: np.dtype[Any]) -> Tensor:
    assert layout.fields is not None
    field, offset, *_ = layout.fields[name]
    size, shape = kind.itemsize, field.shape
    inner = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
    typed = memory.view(torch.from_numpy(np.empty(0, kind)).dtype)
    return typed.as_strided((rows, *shape), (layout.itemsize // size, *inner), offset // size)


def _shapes(game: Game, *, masked: bool) -> Shapes:
    """Of one row; the parts of a Dict or Tuple space must be of one dtype, because they are one array in the rules."""
    space = game.observation_space
    parts = _parts(space)
    if parts is None:
        obs, dtype = space.shape or (), tensor_dtype(space)
    else:
        assert _is_composite(space)
        kinds = {tensor_dtype(part) for _, _, part in children(space)}
        assert len(kinds) == 1, space
        obs, dtype = (parts[-1][1].stop,), kinds.pop()
    action: gym.Space[Any] = game.action_space
    box = isinstance(action, spaces.Box)
    return Shapes(obs, dtype, action.shape or (1,) if box else (), int(action.n) if masked else 0)  # type: ignore[attr-defined]


def _parts(space: gym.Space[Any]) -> list[tuple[str, slice, tuple[int, ...]]] | None:
    """Name, place in the array of the rules, and shape of each part of a Dict or Tuple space, else None."""
    if not _is_composite(space):
        return None
    parts, start = [], 0
    for name, _, part in children(space):
        shape = part.shape or ()
        stop = start + int(np.prod(shape, dtype=np.int64))
        parts.append((name, slice(start, stop), shape))
        start = stop
    return parts


def _is_composite(space: gym.Space[Any]) -> TypeGuard[spaces.Dict | spaces.Tuple[Any]]:
    return isinstance(space, spaces.Dict | spaces.Tuple)
