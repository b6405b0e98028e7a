"""N rows of a game whose rules are those of one row, stepped in place on a CUDA GPU, a thread for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba.core.errors import NumbaError
from torch import Tensor

from gymnast.envs.kernels.advance import BOOK
from gymnast.envs.kernels.cuda_step import cuda, cuda_kernels
from gymnast.envs.kernels.faults import reason
from gymnast.envs.kernels.in_place import ENDLESS, InPlace
from gymnast.envs.kernels.rules import RowRules, constants, records
from gymnast.envs.native.game import Game
from gymnast.envs.native.world import Moved

BLOCK = 128
"""Threads of a block."""


class CudaEngine(InPlace):
    """The rows of a `NativeVectorEnv` on a GPU; nothing waits for it, and a CUDA graph can record the steps.

    Numba reads and writes torch's memory, on torch's current stream.

    Raises:
        ValueError: numba-cuda cannot be used here, or cannot compile the rules.
    """

    def __init__(self, game: Game, rules: RowRules, rows: int, *, keep_final: bool) -> None:
        super().__init__(game, rules, rows, keep_final=keep_final)
        self.kernels = cuda_kernels(rules, masked=self.shapes.mask > 0)
        given = constants(rules.options)
        self._options = torch.from_numpy(given.view(np.uint8)).to(self.device)
        layout = records(rules.fields, 0).dtype
        self._fixed = (array(self._state, layout), array(self._book, BOOK), array(self._options, given.dtype))
        self._count = array(self._begun)
        self._no_seeds = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._no_mask = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
        self._compile()

    def _compile(self) -> None:
        """Launch all kernels for no row, so that a fault in the rules is found when the environment is made."""
        self._stepped = 0
        shape, kind = self.shapes.action, torch.float32 if self.shapes.action else torch.int64
        self.begin_in(self._none)
        self.observe()
        self.advance(torch.zeros(self._rows, *shape, dtype=kind, device=self.device), None, None)
        self._stepped = self._rows

    def begin_in(self, rows: Tensor) -> None:
        self._launch(self.kernels.begin, array(rows))

    def show_all(self, obs: Tensor, mask: Tensor | None) -> None:
        self._launch(self.kernels.show, *self._seen(obs, mask))

    def advance(self, action: Tensor, limit: int | None, seeds: Tensor | None) -> Moved:
        obs, mask = self._new_obs(), self._new_mask()
        reward, length = self._new(torch.float32), self._new(torch.int64)
        total, ends = self._new(torch.float64), torch.empty(3, self._rows, dtype=torch.bool, device=self.device)
        after = (*self._seen(obs, mask), *map(array, (reward, ends, total, length)))
        self._launch(self.kernels.step, ENDLESS if limit is None else limit, array(action.contiguous()), *after)
        if len(self._last):
            self._last.copy_(self._state)
        count = ends[2].cumsum(0)
        first, first_mask = obs.clone(), None if mask is None else mask.clone()
        seeds, number = (self._no_seeds, 0) if seeds is None else (seeds, len(seeds))
        numbers = self._count, array(ends), array(count), array(seeds), number
        self._launch(self.kernels.renew, *numbers, *self._seen(first, first_mask))
        self._begun += count[-1]
        terminated, truncated, ended = ends.unbind()
        self.final = (ended, self._last_views) if len(self._last) else None
        seen = self._split(first), self._split(obs), reward, terminated, truncated, ended
        return Moved(*seen, total, length, first_mask, mask, None)

    def _new(self, dtype: torch.dtype) -> Tensor:
        return torch.empty(self._rows, dtype=dtype, device=self.device)

    def _seen(self, obs: Tensor, mask: Tensor | None) -> tuple[Any, Any]:
        """As the kernels take them; a single number is an array of one."""
        return array(obs if self.shapes.obs else obs[:, None]), array(self._no_mask if mask is None else mask)

    def _launch(self, kernel: Any, *given: Any) -> None:
        try:
            launch(kernel, self.device, -(-self._rows // BLOCK), (*self._fixed, self._stepped, *given))
        except (NumbaError, KeyError) as error:
            raise ValueError(f"its rules of one row cannot be compiled for CUDA: {reason(error)}") from error


def check(device: torch.device) -> None:
    """ValueError if rules of one row cannot run on this device."""
    if device.type != "cuda":
        raise ValueError(f"rules of one row need the device cpu or cuda, not {device}")
    if not cuda.is_available():
        raise ValueError("rules of one row on a GPU need numba-cuda, which is not installed or does not work here")


def array(memory: Tensor, layout: np.dtype[Any] | None = None) -> Any:
    """A tensor's memory as an array of Numba's, of structs if their layout is given; not a copy."""
    found = cuda.as_cuda_array(memory, sync=False)
    return found if layout is None else found.view(layout)


def launch(kernel: Any, device: torch.device, blocks: int, given: tuple[Any, ...]) -> None:
    """Run a kernel on torch's current stream."""
    with torch.cuda.device(device):
        kernel[blocks, BLOCK, cuda.external_stream(torch.cuda.current_stream().cuda_stream)](*given)
