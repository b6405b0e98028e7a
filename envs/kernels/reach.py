"""gymnast/Reach-v0, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import uniform
from gymnast.envs.kernels.real import clip
from gymnast.envs.kernels.rules import Field
from gymnast.envs.small.reach import FRICTION, PUSH

ZERO, ONE, TWO = np.arange(3, dtype=np.float32)


def fields(dimension: int) -> tuple[Field, ...]:
    """Of the state."""
    return tuple((name, np.float32, (dimension,)) for name in ("position", "velocity", "goal"))


def begin(state: Any, draws: Any, options: Any) -> None:
    for axis in range(options.dimension):
        state.position[axis] = state.velocity[axis] = ZERO
        state.goal[axis] = (uniform(draws, axis) * TWO - ONE) * options.size


def act(state: Any, action: Any, draws: Any, options: Any) -> tuple[float, bool]:
    away = False
    for axis in range(options.dimension):
        old = state.velocity[axis]
        velocity = old - old * FRICTION + clip(action[axis], -ONE, ONE) * PUSH
        moved = state.position[axis] + velocity
        position = clip(moved, -options.size, options.size)
        state.position[axis] = position
        state.velocity[axis] = velocity if moved == position else ZERO
        away = away or abs(position - state.goal[axis]) > options.tolerance
    return (-1.0 if away else 0.0), False


def show(state: Any, obs: Any, options: Any) -> None:
    """The parts of the observation after each other, in the order of their names."""
    size = options.dimension
    for axis in range(size):
        obs[axis], obs[size + axis] = state.position[axis], state.goal[axis]
        obs[2 * size + axis], obs[3 * size + axis] = state.position[axis], state.velocity[axis]
