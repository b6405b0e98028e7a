"""CartPole-v1, for one row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import uniform
from gymnast.envs.kernels.real import cos, sin

FIELDS = (("x", np.float32), ("x_dot", np.float32), ("theta", np.float32), ("theta_dot", np.float32))
GRAVITY, FORCE, TAU, HALF_LENGTH = np.float32(9.8), np.float32(10.0), np.float32(0.02), np.float32(0.5)
POLE, TOTAL_MASS, POLE_MOMENT = np.float32(0.1), np.float32(1.1), np.float32(0.05)
FOUR_THIRDS = np.float32(4.0 / 3.0)
ANGLE_LIMIT, POSITION_LIMIT = np.float32(12 * 2 * math.pi / 360), np.float32(2.4)
SPAN, HALF_SPAN = np.float32(0.1), np.float32(0.05)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.x = uniform(draws, 0) * SPAN - HALF_SPAN
    state.x_dot = uniform(draws, 1) * SPAN - HALF_SPAN
    state.theta = uniform(draws, 2) * SPAN - HALF_SPAN
    state.theta_dot = uniform(draws, 3) * SPAN - HALF_SPAN


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    force = FORCE if action == 1 else -FORCE
    cosine, sine = cos(state.theta), sin(state.theta)
    temp = (force + POLE_MOMENT * state.theta_dot * state.theta_dot * sine) / TOTAL_MASS
    theta_acc = (GRAVITY * sine - cosine * temp) / (HALF_LENGTH * (FOUR_THIRDS - POLE * cosine * cosine / TOTAL_MASS))
    x_acc = temp - POLE_MOMENT * theta_acc * cosine / TOTAL_MASS
    state.x += TAU * state.x_dot
    state.x_dot += TAU * x_acc
    state.theta += TAU * state.theta_dot
    state.theta_dot += TAU * theta_acc
    terminated = abs(state.x) > POSITION_LIMIT or abs(state.theta) > ANGLE_LIMIT
    if options.sutton_barto_reward:
        return (-1.0 if terminated else 0.0), terminated
    return 1.0, terminated


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0], obs[1], obs[2], obs[3] = state.x, state.x_dot, state.theta, state.theta_dot
