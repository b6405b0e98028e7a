"""Functions of numbers that rules call; sines and cosines take and give float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import inlined

TURN, TURNS, PI, RIGHT_ANGLE = 2 * math.pi, 1 / (2 * math.pi), math.pi, math.pi / 2
C1, C3, C5, C7, C9 = (
    0.99999999468601,
    -0.16666656684006184,
    0.008333025138949532,
    -0.00019807418726277382,
    2.601903065489681e-06,
)
"""The odd polynomial of degree 9 whose greatest relative error as a sine up to a right angle is least: 5.3e-9."""
TURN_32 = np.float32(TURN)
NEAREST, NEAREST_32 = 1.5 * 2.0**52, np.float32(1.5 * 2.0**23)
"""Numbers so large that the next ones are 1 apart: adding one and taking it away again rounds as `np.rint`, which
Numba has not for CUDA, does up to half of it."""


@inlined
def sin(angle: Any) -> Any:
    """The sine to within 1e-7 of an angle up to 10,000; computed in float64 without a branch."""
    rest = _rest(angle)
    size = abs(rest)
    return np.float32(math.copysign(_sine(min(size, PI - size)), rest))


@inlined
def cos(angle: Any) -> Any:
    """The cosine to within 1e-7 of an angle up to 10,000."""
    return np.float32(_sine(RIGHT_ANGLE - abs(_rest(angle))))


@inlined
def wrapped(angle: Any) -> Any:
    """The same angle in [-pi, pi], in float32 as the rules of tensors compute it."""
    return angle - TURN_32 * ((angle / TURN_32 + NEAREST_32) - NEAREST_32)


@inlined
def clip(number: Any, low: Any, high: Any) -> Any:
    """The nearest number from low to high."""
    return min(max(number, low), high)


@inlined
def _rest(angle: Any) -> float:
    """The same angle in [-pi, pi], float64."""
    exact = np.float64(angle)
    return exact - TURN * ((exact * TURNS + NEAREST) - NEAREST)  # type: ignore[no-any-return]


@inlined
def _sine(angle: float) -> float:
    """Of at most a right angle."""
    square = angle * angle
    return angle * (C1 + square * (C3 + square * (C5 + square * (C7 + square * C9))))
