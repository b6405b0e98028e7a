"""MinAtar's Space Invaders, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import rule
from gymnast.envs.kernels.minatar import CELLS, DX, FIRE, LAST_ACTION, SIDE, clear, sticky
from gymnast.envs.kernels.real import clip

CANNON, ALIEN, ALIEN_LEFT, ALIEN_RIGHT, FRIENDLY_BULLET, ENEMY_BULLET = range(6)
COOL_DOWN, MOVE_INTERVAL, SHOT_INTERVAL, FASTEST = 5, 12, 10, 6
BOTTOM = 9 * SIDE
"""The first cell of the last row."""
NUMBERS = ("pos", "alien_dir", "enemy_move_interval", "alien_move_timer", "alien_shot_timer", "shot_timer")
BOARDS = ("f_bullet_map", "e_bullet_map", "alien_map")
FIELDS = (
    *((name, np.int64) for name in NUMBERS),
    *((name, np.bool_, (CELLS,)) for name in BOARDS),
    LAST_ACTION,
)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.pos, state.alien_dir, state.shot_timer, state.last_action = 5, -1, 0, 0
    state.enemy_move_interval = state.alien_move_timer = MOVE_INTERVAL
    state.alien_shot_timer = SHOT_INTERVAL
    for cell in range(CELLS):
        state.f_bullet_map[cell] = state.e_bullet_map[cell] = False
    build(state.alien_map)


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    action = sticky(state, action, draws, options)
    if action == FIRE and state.shot_timer == 0:
        state.f_bullet_map[BOTTOM + state.pos] = True
        state.shot_timer = COOL_DOWN
    state.pos = clip(state.pos + DX[action], 0, 9)
    shift(state.f_bullet_map, -SIDE)
    shift(state.e_bullet_map, SIDE)
    cannon = BOTTOM + state.pos
    terminated = state.e_bullet_map[cannon] != 0 or state.alien_map[cannon] != 0
    if state.alien_move_timer == 0:
        landed = march(state)
        terminated = terminated or landed or state.alien_map[cannon] != 0
    if state.alien_shot_timer == 0:
        state.alien_shot_timer = SHOT_INTERVAL
        state.e_bullet_map[shooter(state.alien_map, state.pos)] = True
    killed = strike(state.alien_map, state.f_bullet_map)
    state.shot_timer = max(state.shot_timer - 1, 0)
    state.alien_move_timer -= 1
    state.alien_shot_timer -= 1
    if count(state.alien_map) == 0:
        if options.ramping:
            state.enemy_move_interval = max(state.enemy_move_interval - 1, FASTEST)
        build(state.alien_map)
    return killed, terminated


def show(state: Any, obs: Any, options: Any) -> None:
    clear(obs)
    obs[9, state.pos, CANNON] = True
    way = ALIEN_LEFT if state.alien_dir < 0 else ALIEN_RIGHT
    for row in range(SIDE):
        for column in range(SIDE):
            cell = SIDE * row + column
            alien, friendly, enemy = state.alien_map[cell], state.f_bullet_map[cell], state.e_bullet_map[cell]
            if alien | friendly | enemy:  # most cells are empty
                obs[row, column, ALIEN] = obs[row, column, way] = alien != 0
                obs[row, column, FRIENDLY_BULLET], obs[row, column, ENEMY_BULLET] = friendly != 0, enemy != 0


@rule
def march(state: Any) -> bool:
    """Move the aliens, down where one is at the edge; whether they landed."""
    aliens, landed = state.alien_map, False
    state.alien_move_timer = min(count(aliens), state.enemy_move_interval)
    edge, at_edge = 0 if state.alien_dir < 0 else 9, False
    for row in range(SIDE):
        at_edge = at_edge or aliens[SIDE * row + edge] != 0
    if not at_edge:
        shift(aliens, state.alien_dir)  # the column that it would carry to another row is empty
        return False
    state.alien_dir = -state.alien_dir
    for column in range(SIDE):
        last = aliens[BOTTOM + column]
        landed = landed or last != 0
        for row in range(9, 0, -1):
            aliens[SIDE * row + column] = aliens[SIDE * (row - 1) + column]
        aliens[column] = last
    return landed


@rule
def shooter(aliens: Any, pos: int) -> int:
    """The cell of the lowest alien in the column that is nearest to the cannon's, the left one of two."""
    for away in range(SIDE):
        for column in (pos - away, pos + away):
            if 0 <= column < SIDE:
                for row in range(9, -1, -1):
                    if aliens[SIDE * row + column] != 0:
                        return SIDE * row + column
    return 0  # not reached: there is always an alien


@rule
def strike(aliens: Any, bullets: Any) -> int:
    """Remove the aliens that a bullet hits, and the bullets; how many."""
    killed = 0
    for cell in range(CELLS):
        struck = aliens[cell] & bullets[cell]
        aliens[cell] ^= struck
        bullets[cell] ^= struck
        killed += struck
    return killed


@rule
def shift(board: Any, by: int) -> None:
    """Move all on a board by some cells; what leaves it is gone."""
    if by < 0:
        for cell in range(CELLS + by):
            board[cell] = board[cell - by]
        for cell in range(CELLS + by, CELLS):
            board[cell] = False
    else:
        for cell in range(CELLS - 1, by - 1, -1):
            board[cell] = board[cell - by]
        for cell in range(by):
            board[cell] = False


@rule
def count(board: Any) -> int:
    """How many are on a board."""
    found = 0
    for cell in range(CELLS):
        found += board[cell]
    return found


@rule
def build(aliens: Any) -> None:
    """The 24 aliens of a wave."""
    for cell in range(CELLS):
        aliens[cell] = cell < 4 * SIDE and 2 <= cell % SIDE < 8
