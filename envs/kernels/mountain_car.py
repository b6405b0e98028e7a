"""MountainCar-v0 and MountainCarContinuous-v0, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import inlined, uniform
from gymnast.envs.kernels.real import clip, cos

FIELDS = (("position", np.float32), ("velocity", np.float32))
LEFT, RIGHT, MAX_SPEED = np.float32(-1.2), np.float32(0.6), np.float32(0.07)
GRAVITY, FORCE, POWER, STEEPNESS = np.float32(0.0025), np.float32(0.001), np.float32(0.0015), np.float32(3.0)
FIRST, SPAN, NONE, ONE = np.float32(0.6), np.float32(0.2), np.float32(0.0), np.float32(1.0)
PRIZE, PRICE = np.float32(100.0), np.float32(0.1)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.position, state.velocity = uniform(draws, 0) * SPAN - FIRST, NONE


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[Any, bool]:
    return -1.0, drive(state, np.float32(action - 1) * FORCE, options)


def act_continuous(state: Any, action: Any, draws: Any, options: Any) -> tuple[Any, bool]:
    force = action[0]
    arrived = drive(state, clip(force, -ONE, ONE) * POWER, options)
    return (PRIZE if arrived else NONE) - PRICE * (force * force), arrived


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0], obs[1] = state.position, state.velocity


@inlined
def drive(state: Any, push: Any, options: Any) -> bool:
    """Accelerate; whether that led to the goal."""
    velocity = clip(state.velocity + push - GRAVITY * cos(STEEPNESS * state.position), -MAX_SPEED, MAX_SPEED)
    position = clip(state.position + velocity, LEFT, RIGHT)
    if position <= LEFT:  # the wall stops the car
        velocity = max(velocity, NONE)
    state.position, state.velocity = position, velocity
    return position >= options.goal and velocity >= options.goal_velocity  # type: ignore[no-any-return]
