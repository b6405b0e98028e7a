"""One step of N rows on a GPU, a thread for each: the rules of one row, compiled by Numba for CUDA.

`gymnast.envs.kernels.advance` has the same for a CPU. It numbers new episodes while it loops over the rows; here the
ended rows are counted between `step` and `renew`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from gymnast.envs.kernels.advance import specialised
from gymnast.envs.kernels.draws import draws_of, following, key_of
from gymnast.envs.kernels.rules import RowRules

cuda: Any = import_module("numba.cuda")  # which has no types
MASKED = False
"""As the rules below, a name that the form of a game replaces."""


class CudaKernels(NamedTuple):
    """The functions of one game, each launched with a thread per row."""

    begin: Any
    show: Any
    step: Any
    renew: Any


def _begin(state: Any, book: Any, options: Any, rows: int, wanted: Any) -> None:
    """New episodes, of the keys in the book, in the rows of a mask."""
    row = cuda.grid(1)
    if row < rows and wanted[row]:
        book[row].length, book[row].total = 0, 0.0
        begin(state[row], draws_of(book[row].key, 0), options[0])


def _show(state: Any, book: Any, options: Any, rows: int, obs: Any, mask: Any) -> None:
    """The current observations and allowed actions."""
    row = cuda.grid(1)
    if row < rows:
        show(state[row], obs[row], options[0])
        if MASKED:
            allow(state[row], mask[row], options[0])


def _step(
    state: Any,
    book: Any,
    options: Any,
    rows: int,
    limit: int,
    action: Any,
    obs: Any,
    mask: Any,
    reward: Any,
    ends: Any,
    total: Any,
    length: Any,
) -> None:
    """Act; count the step; and write what the action led to, before a new episode begins."""
    row = cuda.grid(1)
    if row < rows:
        now, log = state[row], book[row]
        pay, terminated = act(now, action[row], draws_of(log.key, log.length + 1), options[0])
        show(now, obs[row], options[0])
        if MASKED:
            allow(now, mask[row], options[0])
        reward[row] = np.float32(pay)
        log.length += 1
        log.total += np.float32(pay)
        total[row], length[row] = log.total, log.length
        truncated = log.length >= limit
        ends[0, row], ends[1, row], ends[2, row] = terminated, truncated, terminated or truncated


def _renew(
    state: Any,
    book: Any,
    options: Any,
    rows: int,
    begun: Any,
    ends: Any,
    count: Any,
    seeds: Any,
    num_seeds: int,
    obs: Any,
    mask: Any,
) -> None:
    """New episodes in the rows that ended, numbered on, and their observations; `count` [N] is of the ended rows."""
    row = cuda.grid(1)
    if row < rows and ends[2, row]:
        now, log = state[row], book[row]
        log.episode = begun[0] + count[row] - 1
        log.key = key_of(seeds[log.episode]) if log.episode < num_seeds else following(log.key)
        log.length, log.total = 0, 0.0
        begin(now, draws_of(log.key, 0), options[0])
        show(now, obs[row], options[0])
        if MASKED:
            allow(now, mask[row], options[0])


def _nothing(*given: Any) -> Any:
    """Stands for the rules of a game, and for `allow` in one without masks."""


begin = act = show = allow = _nothing


def cuda_kernels(rules: RowRules, *, masked: bool) -> CudaKernels:
    """Those of a game, which their first launch compiles."""
    named = {"begin": rules.begin, "act": rules.act, "show": rules.show, "allow": rules.allow or _nothing}
    names = {**globals(), "MASKED": masked, **{name: cuda.jit(device=True)(rule) for name, rule in named.items()}}
    return CudaKernels(*(cuda.jit(specialised(function, names, 0)) for function in (_begin, _show, _step, _renew)))
