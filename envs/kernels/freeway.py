"""MinAtar's Freeway, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import integer, rule
from gymnast.envs.kernels.minatar import DY, LAST_ACTION, clear, sticky
from gymnast.envs.kernels.real import clip

CHICKEN, CAR, SPEED1 = range(3)
CARS, LANE, TIME_LIMIT, REST = 8, 4, 2500, 3
"""Cars, the chicken's column, steps of an episode less one, steps from one move of the chicken to the next."""
FIELDS = (
    ("pos", np.int64),
    ("move_timer", np.int64),
    ("terminate_timer", np.int64),
    ("car_x", np.int64, (CARS,)),  # in rows 1 to 8
    ("car_timer", np.int64, (CARS,)),
    ("car_speed", np.int64, (CARS,)),  # moves at every |speed|-th step after one, to the right where it is positive
    LAST_ACTION,
)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.pos, state.move_timer, state.terminate_timer, state.last_action = 9, REST, TIME_LIMIT, 0
    renew(state, draws, 0)
    for car in range(CARS):
        state.car_x[car] = 0


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    action, reward = sticky(state, action, draws, options), 0.0
    if DY[action] != 0 and state.move_timer == 0:
        state.move_timer = REST
        state.pos = clip(state.pos + DY[action], 0, 9)
    if state.pos == 0:
        reward = 1.0
        renew(state, draws, 1)
        state.pos = 9
    drive(state)
    state.move_timer = max(state.move_timer - 1, 0)
    state.terminate_timer -= 1
    return reward, state.terminate_timer < 0


def show(state: Any, obs: Any, options: Any) -> None:
    clear(obs)
    obs[state.pos, LANE, CHICKEN] = True
    for car in range(CARS):
        x, speed = state.car_x[car], state.car_speed[car]
        obs[car + 1, x, CAR] = True
        obs[car + 1, beside(x, -speed), SPEED1 + abs(speed) - 1] = True


@rule
def drive(state: Any) -> None:
    """Move the cars; one that is or comes where the chicken is sends it back to the bottom."""
    for car in range(CARS):
        hit = state.car_x[car] == LANE
        if state.car_timer[car] == 0:
            state.car_timer[car] = abs(state.car_speed[car])
            state.car_x[car] = beside(state.car_x[car], state.car_speed[car])
            hit = hit or state.car_x[car] == LANE
        else:
            state.car_timer[car] -= 1
        if hit and car + 1 == state.pos:
            state.pos = 9


@rule
def beside(x: int, way: int) -> int:
    """The next column in a direction, around the board."""
    if way > 0:
        return x + 1 if x < 9 else 0
    return x - 1 if x > 0 else 9


@rule
def renew(state: Any, draws: Any, index: int) -> None:
    """New speeds of the cars, of the digits of two numbers: below 5 to the right, the others to the left."""
    number = integer(draws, index, 10_000) + 10_000 * integer(draws, index + 1, 10_000)
    for car in range(CARS):
        digit = number % 10
        state.car_speed[car] = digit + 1 if digit < 5 else 4 - digit
        state.car_timer[car] = abs(state.car_speed[car])
        number //= 10
