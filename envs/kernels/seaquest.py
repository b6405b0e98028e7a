"""MinAtar's Seaquest, for one row; how its objects come and move is in `seaquest_objects`."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import rule
from gymnast.envs.kernels.minatar import DX, DY, FIRE, LAST_ACTION, SIDE, clear, mark, sticky
from gymnast.envs.kernels.real import clip
from gymnast.envs.kernels.seaquest_objects import (
    BULLETS,
    CREW,
    DIVER_INTERVAL,
    DIVERS,
    ENEMIES,
    MOVE_INTERVAL,
    SUBMARINE,
    WAY,
    X,
    Y,
    bullets_move,
    diver_comes,
    divers_move,
    empty,
    enemies_move,
    enemies_struck,
    enemy_comes,
    fire,
    shots_fly,
    shots_move,
)

SUB_FRONT, SUB_BACK, FRIENDLY_BULLET, TRAIL, ENEMY_BULLET, ENEMY_FISH, ENEMY_SUB, OXYGEN, CREW_GAUGE, DIVER = range(10)
FULL, SPAWN_INTERVAL, COOL_DOWN, FASTEST = 200, 20, 5, 2
NUMBERS = (
    "sub_x",
    "sub_y",
    "oxygen",
    "diver_count",
    "shot_timer",
    "e_spawn_speed",
    "e_spawn_timer",
    "d_spawn_timer",
    "move_speed",
    "ramp_index",
)
FIELDS = (
    *((name, np.int64) for name in NUMBERS),
    ("sub_or", np.bool_),  # whether the player looks to the right
    ("surface", np.bool_),
    ("bullets", np.int64, (BULLETS, 3)),
    ("divers", np.int64, (DIVERS, 4)),
    ("enemies", np.int8, (ENEMIES, 6)),
    ("e_bullets", np.bool_, (2, SIDE, SIDE)),  # those that go to the left, to the right
    LAST_ACTION,
)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.sub_x, state.sub_y, state.sub_or, state.surface = 5, 0, False, True
    state.oxygen, state.diver_count, state.shot_timer = FULL, 0, 0
    state.e_spawn_speed = state.e_spawn_timer = SPAWN_INTERVAL
    state.d_spawn_timer, state.move_speed = DIVER_INTERVAL, MOVE_INTERVAL
    state.ramp_index, state.last_action = 0, 0
    empty(state.bullets)
    empty(state.divers)
    empty(state.enemies)
    state.e_bullets[:] = False


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    action = sticky(state, action, draws, options)
    if state.e_spawn_timer == 0:
        enemy_comes(state, draws)
        state.e_spawn_timer = state.e_spawn_speed
    if state.d_spawn_timer == 0:
        diver_comes(state, draws)
        state.d_spawn_timer = DIVER_INTERVAL
    if action == FIRE and state.shot_timer == 0:
        fire(state)
        state.shot_timer = COOL_DOWN
    if DX[action] != 0:
        state.sub_or = DX[action] > 0
    state.sub_x = clip(state.sub_x + DX[action], 0, 9)
    state.sub_y = clip(state.sub_y + DY[action], 0, 8)
    reward = bullets_move(state)
    divers_move(state)
    met = enemies_move(state)
    reward += enemies_struck(state)
    hit = shots_move(state)
    state.e_spawn_timer = max(state.e_spawn_timer - 1, 0)
    state.d_spawn_timer = max(state.d_spawn_timer - 1, 0)
    state.shot_timer = max(state.shot_timer - 1, 0)
    bonus, lost = breathe(state, options)
    return float(reward + bonus), met or hit or lost


def show(state: Any, obs: Any, options: Any) -> None:
    clear(obs)
    obs[state.sub_y, state.sub_x, SUB_FRONT] = True
    mark(obs, state.sub_y, state.sub_x - 1 if state.sub_or else state.sub_x + 1, SUB_BACK)
    for column in range(clip(state.oxygen * SIDE // FULL, 0, SIDE)):
        obs[9, column, OXYGEN] = True
    for column in range(9 - state.diver_count, 9):
        obs[9, column, CREW_GAUGE] = True
    for bullet in state.bullets:
        mark(obs, bullet[Y], bullet[X], FRIENDLY_BULLET)
    if shots_fly(state):
        for row in range(SIDE):
            for column in range(SIDE):
                shots = state.e_bullets[0, row, column] | state.e_bullets[1, row, column]
                obs[row, column, ENEMY_BULLET] = shots != 0
    for enemy in state.enemies:
        mark(obs, enemy[Y], enemy[X], ENEMY_SUB if enemy[SUBMARINE] else ENEMY_FISH)
        mark(obs, enemy[Y], enemy[X] - enemy[WAY], TRAIL)
    for diver in state.divers:
        mark(obs, diver[Y], diver[X], DIVER)
        mark(obs, diver[Y], diver[X] - diver[WAY], TRAIL)


@rule
def breathe(state: Any, options: Any) -> tuple[int, bool]:
    """Use oxygen under water, get more at the surface; the reward for a full crew and whether the player is lost."""
    lost = state.oxygen <= 0
    if state.sub_y > 0:
        state.oxygen -= 1
        state.surface = False
    elif not state.surface:
        if state.diver_count == 0:
            return 0, True
        return surface(state, options), lost
    return 0, lost


@rule
def surface(state: Any, options: Any) -> int:
    """Take a diver for new oxygen, and all six for a reward, which is returned; the game gets faster."""
    bonus = 0
    if state.diver_count == CREW:
        state.diver_count, bonus = 0, state.oxygen * 10 // FULL
    state.surface, state.oxygen = True, FULL
    state.diver_count -= 1
    if options.ramping and (state.e_spawn_speed > 1 or state.move_speed > FASTEST):
        if state.ramp_index % 2 == 1:
            state.move_speed = max(state.move_speed - 1, FASTEST)
        state.e_spawn_speed = max(state.e_spawn_speed - 1, 1)
        state.ramp_index += 1
    return bonus
