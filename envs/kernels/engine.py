"""N rows of a game whose rules are those of one row, stepped in place by compiled code on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from gymnast.allocator import keep_freed_pages
from gymnast.envs.kernels.advance import OUTCOME, compiled
from gymnast.envs.kernels.in_place import ENDLESS, InPlace
from gymnast.envs.kernels.rules import RowRules, constants
from gymnast.envs.native.game import Game
from gymnast.envs.native.world import Moved

SHARE = 2_048
"""Rows that a thread has at least: fewer take less time than the threads' coordination."""


class RowEngine(InPlace):
    """The rows of a `NativeVectorEnv` on the CPU."""

    def __init__(self, game: Game, rules: RowRules, rows: int, *, keep_final: bool) -> None:
        super().__init__(game, rules, rows, keep_final=keep_final)
        self.kernels = compiled(rules, self.shapes)
        keep_freed_pages()
        self._options = constants(rules.options)
        self._outcomes = torch.from_numpy(np.zeros(rows, OUTCOME).view(np.int64))
        self._fixed = (self._state.data_ptr(), self._book.data_ptr(), self._options.ctypes.data)
        self._ends = torch.zeros(3, rows, dtype=torch.bool)
        """Terminated, truncated, either."""

    def begin_in(self, rows: Tensor) -> None:
        self.kernels.begin(*self._fixed, self._rows, rows.data_ptr())

    def show_all(self, obs: Tensor, mask: Tensor | None) -> None:
        state, _, options = self._fixed
        self.kernels.observe(state, options, self._rows, obs.data_ptr(), _address(mask))

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
            self._last.data_ptr() if len(self._last) else 0,
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
            self.world.episode.numpy()[first:stop][self._ends[2, first:stop].numpy()] += int(self._begun)
            self._begun += int(count[0])
        return int(counts[:, 0].sum())


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="gymnast-rows")


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
