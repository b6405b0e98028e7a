"""MinAtar's Breakout, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import integer, rule
from gymnast.envs.kernels.minatar import DX, LAST_ACTION, SIDE, clear, sticky
from gymnast.envs.kernels.real import clip

PADDLE, BALL, TRAIL, BRICK = range(4)
NUMBERS = ("ball_x", "ball_y", "last_x", "last_y", "dx", "dy", "pos")
FIELDS = (
    *((name, np.int64) for name in NUMBERS),
    ("strike", np.bool_),
    ("brick_map", np.bool_, (SIDE * SIDE,)),
    LAST_ACTION,
)


def begin(state: Any, draws: Any, options: Any) -> None:
    side = integer(draws, 0, 2)
    state.ball_x = state.last_x = 9 * side
    state.ball_y = state.last_y = 3
    state.dx, state.dy = 1 - 2 * side, 1
    state.pos, state.strike, state.last_action = 4, False, 0
    for cell in range(SIDE * SIDE):
        state.brick_map[cell] = SIDE <= cell < 4 * SIDE


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    action = sticky(state, action, draws, options)
    state.pos = clip(state.pos + DX[action], 0, 9)
    state.last_x, state.last_y = state.ball_x, state.ball_y
    x, y = state.ball_x + state.dx, state.ball_y + state.dy
    if x < 0 or x > 9:
        x, state.dx = clip(x, 0, 9), -state.dx
    if y < 0:
        y, state.dy = 0, -state.dy
    struck, reward, terminated = state.brick_map[SIDE * y + x] != 0, 0.0, False
    if struck and not state.strike:  # the step after one that broke a brick goes through the next
        reward = 1.0
        state.brick_map[SIDE * y + x] = False
        y, state.dy = state.last_y, -state.dy
    elif y == 9:
        if cleared(state.brick_map):
            build(state.brick_map)
        if state.last_x == state.pos:
            y, state.dy = state.last_y, -state.dy
        elif x == state.pos:
            y, state.dx, state.dy = state.last_y, -state.dx, -state.dy
        else:
            terminated = True
    state.ball_x, state.ball_y, state.strike = x, y, struck
    return reward, terminated


def show(state: Any, obs: Any, options: Any) -> None:
    clear(obs)
    for row in range(1, 4):
        for column in range(SIDE):
            obs[row, column, BRICK] = state.brick_map[SIDE * row + column] != 0
    obs[9, state.pos, PADDLE] = True
    obs[state.ball_y, state.ball_x, BALL] = True
    obs[state.last_y, state.last_x, TRAIL] = True


@rule
def cleared(bricks: Any) -> bool:
    """Whether no brick is left."""
    left = 0
    for cell in range(SIDE, 4 * SIDE):
        left += bricks[cell]
    return left == 0


@rule
def build(bricks: Any) -> None:
    """All bricks of the three rows."""
    for cell in range(SIDE, 4 * SIDE):
        bricks[cell] = True
