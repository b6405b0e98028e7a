"""gymnast/Catch-v0, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import integer

FIELDS = (("row", np.int64), ("column", np.int64), ("paddle", np.int64))


def begin(state: Any, draws: Any, options: Any) -> None:
    state.row, state.column, state.paddle = 0, integer(draws, 0, options.columns), options.columns // 2


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    state.row += 1
    state.paddle = min(max(state.paddle + action - 1, 0), options.columns - 1)
    if state.row < options.rows - 1:
        return 0.0, False
    return (1.0 if state.paddle == state.column else -1.0), True


def show(state: Any, obs: Any, options: Any) -> None:
    for row in range(options.rows):
        for column in range(options.columns):
            obs[row, column] = 0.0
    obs[state.row, state.column] = 1.0
    obs[options.rows - 1, state.paddle] = 1.0
