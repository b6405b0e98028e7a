"""MinAtar's Asterix, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import integer, rule, uniform
from gymnast.envs.kernels.minatar import DX, DY, LAST_ACTION, NONE, clear, driven, mark, sticky
from gymnast.envs.kernels.real import clip

PLAYER, ENEMY, TRAIL, GOLD = range(4)
LANES = 8
SPAWN_INTERVAL, MOVE_INTERVAL, RAMP_INTERVAL = 10, 5, 100
NUMBERS = (
    "player_x",
    "player_y",
    "spawn_speed",
    "spawn_timer",
    "move_speed",
    "move_timer",
    "ramp_timer",
    "ramp_index",
)
FIELDS = (
    *((name, np.int64) for name in NUMBERS),
    ("x", np.int64, (LANES,)),  # of what crosses the board in rows 1 to 8
    ("dx", np.int64, (LANES,)),
    ("gold", np.bool_, (LANES,)),
    LAST_ACTION,
)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.player_x = state.player_y = 5
    state.spawn_speed = state.spawn_timer = SPAWN_INTERVAL
    state.move_speed = state.move_timer = MOVE_INTERVAL
    state.ramp_timer, state.ramp_index, state.last_action = RAMP_INTERVAL, 0, 0
    for lane in range(LANES):
        state.x[lane], state.dx[lane], state.gold[lane] = NONE, 0, False


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    action = sticky(state, action, draws, options)
    if state.spawn_timer == 0:
        spawn(state, draws)
        state.spawn_timer = state.spawn_speed
    state.player_x = clip(state.player_x + DX[action], 0, 9)
    state.player_y = clip(state.player_y + DY[action], 1, LANES)
    reward, terminated = meet(state)
    if state.move_timer == 0:
        state.move_timer = state.move_speed
        for lane in range(LANES):
            if state.x[lane] >= 0:
                state.x[lane] = driven(state.x[lane], state.dx[lane])
        more, met = meet(state)
        reward, terminated = reward + more, terminated or met
    state.spawn_timer -= 1
    state.move_timer -= 1
    if options.ramping:
        ramp(state)
    return reward, terminated


def show(state: Any, obs: Any, options: Any) -> None:
    clear(obs)
    obs[state.player_y, state.player_x, PLAYER] = True
    for lane in range(LANES):
        x = state.x[lane]
        if x >= 0:
            obs[lane + 1, x, GOLD if state.gold[lane] != 0 else ENEMY] = True
            mark(obs, lane + 1, x - state.dx[lane], TRAIL)


@rule
def spawn(state: Any, draws: Any) -> None:
    """Let an enemy or treasure into a random empty row, if there is one."""
    empty = 0
    for lane in range(LANES):
        empty += state.x[lane] < 0
    chosen = integer(draws, 3, empty)
    for lane in range(LANES):
        if state.x[lane] < 0:
            if chosen == 0:
                right = uniform(draws, 1) < 1 / 2
                state.x[lane], state.dx[lane] = (0, 1) if right else (9, -1)
                state.gold[lane] = uniform(draws, 2) < 1 / 3
            chosen -= 1


@rule
def meet(state: Any) -> tuple[float, bool]:
    """Take the treasure in the player's cell; the reward, and whether an enemy is there instead."""
    lane = state.player_y - 1
    if state.x[lane] != state.player_x:
        return 0.0, False
    if state.gold[lane] == 0:
        return 0.0, True
    state.x[lane] = NONE
    return 1.0, False


@rule
def ramp(state: Any) -> None:
    """Make the game faster when it is time, until it is as fast as can be."""
    if state.spawn_speed == 1 and state.move_speed == 1:
        return
    if state.ramp_timer >= 0:
        state.ramp_timer -= 1
        return
    if state.ramp_index % 2 == 1:
        state.move_speed = max(state.move_speed - 1, 1)
    state.spawn_speed = max(state.spawn_speed - 1, 1)
    state.ramp_index += 1
    state.ramp_timer = RAMP_INTERVAL
