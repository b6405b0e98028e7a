"""N rows of a game stepped as tensors, eager or compiled: what a GPU runs, and a CPU without the rules of one row."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from gymnast.envs.native import world
from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.game import Game
from gymnast.envs.native.world import Final, Moved, World
from gymnast.envs.step import Obs

GAMES = 256
"""Games, times numbers of rows, of a process that may be compiled."""


class Engine(Protocol):
    """N games in progress and how they move."""

    world: World
    final: Final | None
    """None before the first step, and if nobody asked for it."""

    def begin(self, keys: Tensor) -> None:
        """New episodes by these keys, int64 [N], numbered from 0."""

    def restart(self, rows: Tensor) -> None:
        """New episodes in some rows, bool [N]."""

    def observe(self) -> tuple[Obs, Tensor | None]:
        """The current observations [N, ...] and allowed actions, bool [N, A], if the game defines them."""

    def advance(self, action: Tensor, limit: int | None, seeds: Tensor | None) -> Moved:
        """One step of all rows; see `world.advance`."""

    def load(self, world: World) -> None:
        """Go on from another world of as many rows."""


class TensorEngine:
    """An `Engine` on any device; `world` is replaced by each step and never overwritten."""

    def __init__(self, game: Game, rows: int, *, compile: bool, keep_final: bool) -> None:
        self.game, self.keep_final = game, keep_final
        self._advance = _Compiled() if compile else world.advance
        self.world = world.begin(game, row_keys(0, rows, device=game.device))
        self.final: Final | None = None

    def begin(self, keys: Tensor) -> None:
        self.load(world.begin(self.game, keys))

    def restart(self, rows: Tensor) -> None:
        self.world = world.restart(self.game, self.world, rows)

    def observe(self) -> tuple[Obs, Tensor | None]:
        return self.game.observe(self.world.state), self.game.action_mask(self.world.state)

    def advance(self, action: Tensor, limit: int | None, seeds: Tensor | None) -> Moved:
        before = self.world
        self.world, moved = self._advance(self.game, before, action, limit, seeds)
        if self.keep_final:
            self.final = moved.ended, world.after(self.game, before, action)
        return moved

    def load(self, world: World) -> None:
        self.world, self.final = world, None


class _Compiled:
    """`world.advance` as one graph for each game and N; uncompiled, with a warning, if it cannot be compiled."""

    def __init__(self) -> None:
        dynamo: Any = torch._dynamo.config
        # It counts the compiled forms of one function over all games of a process, and stops at eight.
        name = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
        setattr(dynamo, name, max(getattr(dynamo, name), GAMES))
        self._run: Callable[..., tuple[World, Moved]] = torch.compile(world.advance, fullgraph=True, dynamic=False)

    def __call__(self, *args: Any) -> tuple[World, Moved]:
        try:
            return self._run(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = str(error).strip().split("\n", maxsplit=1)[0]
            warnings.warn(f"compile: steps run uncompiled, because compiling failed ({cause})", stacklevel=4)
            self._run = world.advance
            return self._run(*args)
