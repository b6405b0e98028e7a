"""Acrobot-v1, for one row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import inlined, uniform
from gymnast.envs.kernels.real import clip, cos, sin, wrapped

FIELDS = (("theta1", np.float32), ("theta2", np.float32), ("velocity1", np.float32), ("velocity2", np.float32))
GRAVITY1, GRAVITY2 = np.float32(1.5 * 9.8), np.float32(0.5 * 9.8)
STEP, HALF_STEP, SIXTH_STEP = np.float32(0.2), np.float32(0.1), np.float32(0.2 / 6)
MOST1, MOST2 = np.float32(4 * math.pi), np.float32(9 * math.pi)
HALF, ONE, TWO = np.float32(0.5), np.float32(1.0), np.float32(2.0)
INERTIA1, INERTIA2 = np.float32(3.5), np.float32(1.25)
SPAN, HALF_SPAN = np.float32(0.2), np.float32(0.1)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.theta1 = uniform(draws, 0) * SPAN - HALF_SPAN
    state.theta2 = uniform(draws, 1) * SPAN - HALF_SPAN
    state.velocity1 = uniform(draws, 2) * SPAN - HALF_SPAN
    state.velocity2 = uniform(draws, 3) * SPAN - HALF_SPAN


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[Any, bool]:
    start, torque = (state.theta1, state.theta2, state.velocity1, state.velocity2), np.float32(action - 1)
    first = slope(start, torque)
    second = slope(moved(start, HALF_STEP, first), torque)
    third = slope(moved(start, HALF_STEP, second), torque)
    fourth = slope(moved(start, STEP, third), torque)
    theta1, theta2, velocity1, velocity2 = moved(start, SIXTH_STEP, weighted(first, second, third, fourth))
    state.theta1, state.theta2 = wrapped(theta1), wrapped(theta2)
    state.velocity1, state.velocity2 = clip(velocity1, -MOST1, MOST1), clip(velocity2, -MOST2, MOST2)
    terminated = -cos(state.theta1) - cos(state.theta1 + state.theta2) > ONE
    return (0.0 if terminated else -1.0), terminated


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0], obs[1] = cos(state.theta1), sin(state.theta1)
    obs[2], obs[3] = cos(state.theta2), sin(state.theta2)
    obs[4], obs[5] = state.velocity1, state.velocity2


@inlined
def slope(at: Any, torque: Any) -> Any:
    """The time derivative of angles and angular velocities (Sutton & Barto 1998, section 11.3)."""
    theta1, theta2, velocity1, velocity2 = at
    cos2, sin2 = cos(theta2), sin(theta2)
    inertia1, inertia2 = INERTIA1 + cos2, INERTIA2 + HALF * cos2  # d1 and d2, without the mass that is 1
    pull2 = GRAVITY2 * sin(theta1 + theta2)  # phi2; the cosine of an angle less pi / 2 is its sine
    pull1 = pull2 + GRAVITY1 * sin(theta1) - sin2 * velocity2 * (HALF * velocity2 + velocity1)  # phi1
    ratio = inertia2 / inertia1
    force2 = torque + ratio * pull1 - HALF * (velocity1 * velocity1) * sin2 - pull2
    acceleration2 = force2 / (INERTIA2 - inertia2 * ratio)
    acceleration1 = -ratio * acceleration2 - pull1 / inertia1
    return velocity1, velocity2, acceleration1, acceleration2


@inlined
def moved(start: Any, time: Any, slope: Any) -> Any:
    """The four numbers after some time along a slope."""
    return (
        start[0] + time * slope[0],
        start[1] + time * slope[1],
        start[2] + time * slope[2],
        start[3] + time * slope[3],
    )


@inlined
def weighted(first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Six times the mean slope of a Runge-Kutta step."""
    return (
        first[0] + TWO * (second[0] + third[0]) + fourth[0],
        first[1] + TWO * (second[1] + third[1]) + fourth[1],
        first[2] + TWO * (second[2] + third[2]) + fourth[2],
        first[3] + TWO * (second[3] + third[3]) + fourth[3],
    )
