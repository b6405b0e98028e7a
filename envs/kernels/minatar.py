"""What the rules of one row of the five MinAtar games share."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import rule, uniform

SIDE, CELLS = 10, 100
NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)
DX, DY = (0, -1, 0, 1, 0, 0), (0, 0, -1, 0, 1, 0)
"""Of each of the six actions."""
LAST_ACTION = ("last_action", np.int64)
NONE = -9
"""The column of an absent object: neither it nor the cell next to it is on the board."""


@rule
def sticky(state: Any, action: int, draws: Any, options: Any) -> Any:
    """The action that is taken: one of the six, sometimes that of the step before."""
    if uniform(draws, 0) >= options.sticky:
        state.last_action = options.actions[action]
    return state.last_action


@rule
def driven(x: int, dx: int) -> int:
    """The column of an object one step on; who leaves the board is not there anymore."""
    x += dx
    return x if 0 <= x < SIDE else NONE


@rule
def mark(obs: Any, row: int, column: int, channel: int) -> None:
    """Set a cell, if the column is on the board."""
    if 0 <= column < SIDE:
        obs[row, column, channel] = True


@rule
def clear(obs: Any) -> None:
    """An empty board."""
    for row in range(obs.shape[0]):
        for column in range(obs.shape[1]):
            for channel in range(obs.shape[2]):
                obs[row, column, channel] = False
