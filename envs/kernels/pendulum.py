"""Pendulum-v1, for one row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import uniform
from gymnast.envs.kernels.real import clip, cos, sin, wrapped

FIELDS = (("theta", np.float32), ("velocity", np.float32))
MAX_SPEED, MAX_TORQUE, STEP = np.float32(8.0), np.float32(2.0), np.float32(0.05)
PI, TURN, ONE, TWO, THREE = np.float32(math.pi), np.float32(2 * math.pi), *np.arange(1, 4, dtype=np.float32)
SPEED_COST, TORQUE_COST = np.float32(0.1), np.float32(0.001)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.theta = uniform(draws, 0) * TURN - PI
    state.velocity = uniform(draws, 1) * TWO - ONE


def act(state: Any, action: Any, draws: Any, options: Any) -> tuple[Any, bool]:
    theta, velocity, torque = state.theta, state.velocity, clip(action[0], -MAX_TORQUE, MAX_TORQUE)
    cost = theta * theta + SPEED_COST * (velocity * velocity) + TORQUE_COST * (torque * torque)
    acceleration = options.pull * sin(theta) + THREE * torque
    state.velocity = clip(velocity + acceleration * STEP, -MAX_SPEED, MAX_SPEED)
    state.theta = wrapped(theta + state.velocity * STEP)
    return -cost, False


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0], obs[1], obs[2] = cos(state.theta), sin(state.theta), state.velocity
