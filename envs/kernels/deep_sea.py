"""gymnast/DeepSea-v0, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

FIELDS = (("row", np.int64), ("column", np.int64))


def begin(state: Any, draws: Any, options: Any) -> None:
    state.row, state.column = 0, 0


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    last, reward = options.size - 1, 0.0
    if action == options.right[state.row, state.column]:
        reward = (1.0 if state.column == last else 0.0) - options.cost
        state.column = min(state.column + 1, last)
    else:
        state.column = max(state.column - 1, 0)
    state.row += 1
    return reward, state.row == options.size


def show(state: Any, obs: Any, options: Any) -> None:
    for row in range(options.size):
        for column in range(options.size):
            obs[row, column] = 0.0
    if state.row < options.size:
        obs[state.row, state.column] = 1.0
