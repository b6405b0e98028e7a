"""The true state of environments, by the names of its variables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gymnast.atari.ram import variables_of
from gymnast.envs.atari.base import Atari
from gymnast.envs.env import Env
from gymnast.envs.native import acrobot, cartpole, mountain_car
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.rows.serial import SerialEnv

Reader: TypeAlias = "Callable[[], dict[str, Tensor]]"
"""The current state of N rows: each variable [N, K]."""

CLASSIC = {
    "CartPoleEnv": cartpole.NAMES,
    "AcrobotEnv": acrobot.NAMES,
    "MountainCarEnv": mountain_car.NAMES,
    "Continuous_MountainCarEnv": mountain_car.NAMES,
    "PendulumEnv": ("theta", "velocity"),
}
"""Names of the variables in the state of Gymnasium's classic control, by class."""
LABELS = frozenset({"at", "cue", "last_action", "state"})
"""Variables of device-native environments that number things without an order."""


def reader_of(env: Env) -> Reader | None:
    """Reads the state of an environment: a device-native one, an Atari game with known bytes, or one with `state`."""
    if isinstance(env, NativeEnv):
        return lambda: _state(env)
    if isinstance(env, Atari):
        variables = variables_of(env.id)
        return (lambda: _bytes(env)) if variables else None
    if isinstance(env, SerialEnv):
        names = _names(env.rows[0].env.unwrapped)
        return (lambda: _attributes(env, names)) if names else None
    return None


def is_label(env: Env, name: str, values: Tensor) -> bool:
    """Whether a variable [N, K] of an environment is a class, not a number: a truth value, or without an order."""
    if values.shape[1] > 1:
        return False
    return values.dtype is torch.bool or (isinstance(env, NativeEnv) and name in LABELS)


def _state(env: NativeEnv) -> dict[str, Tensor]:
    """Copies: compiled rules write the next state where this one lies."""
    state = env.env.world.state
    return {name: value.reshape(env.num_envs, -1).to("cpu", copy=True) for name, value in state.items()}


def _bytes(env: Atari) -> dict[str, Tensor]:
    memories = [env.ram(row) for row in range(env.num_envs)]
    variables = variables_of(env.id)
    return {
        name: torch.tensor([[variable.value(memory)] for memory in memories]) for name, variable in variables.items()
    }


def _names(env: Any) -> tuple[str, ...]:
    """Names of the variables in an environment's attribute `state`; none if it has no such numbers."""
    known = CLASSIC.get(type(env).__name__, ())
    state = _numbers(env)
    if state is None or (known and len(known) != len(state)):
        return ()
    return known or tuple(f"state_{index}" for index in range(len(state)))


def _numbers(env: Any) -> np.ndarray | None:
    try:
        state = np.asarray(getattr(env, "state", None), np.float64).ravel()
    except (TypeError, ValueError):
        return None
    return state if len(state) and np.isfinite(state).all() else None


def _attributes(env: SerialEnv, names: tuple[str, ...]) -> dict[str, Tensor]:
    rows = np.stack([np.asarray(row.env.unwrapped.state, np.float64).ravel() for row in env.rows])  # type: ignore[attr-defined]
    if type(env.rows[0].env.unwrapped).__name__ == "PendulumEnv":  # its angle counts turns, which no observation shows
        rows[:, 0] -= 2 * math.pi * np.round(rows[:, 0] / (2 * math.pi))
    return {name: torch.from_numpy(rows[:, index : index + 1]) for index, name in enumerate(names)}
