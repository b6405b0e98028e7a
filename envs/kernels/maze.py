"""gymnast/Maze-v0, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import integer

FIELDS = (("at", np.int64),)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.at = options.starts[integer(draws, 0, len(options.starts))]


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    state.at = options.target[state.at, action]
    return options.reward[state.at], options.ends[state.at] != 0


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0] = state.at


def show_board(state: Any, obs: Any, options: Any) -> None:
    """Planes of the walker, walls, goals and traps."""
    _, rows, columns = obs.shape
    for row in range(rows):
        for column in range(columns):
            obs[0, row, column] = 1.0 if state.at == row * columns + column else 0.0
            for plane in range(3):
                obs[1 + plane, row, column] = options.planes[plane, row, column]
