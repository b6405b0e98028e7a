"""Drawing one of several choices, compiled for the CPU: few rows cost less than one call of torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True)
def draw(logits: Array, uniform: Array) -> tuple[Array, Array]:
    """Choices int64 [N] in proportion to exp(logits [N, A]) by uniform numbers [N], and their log-probabilities."""
    choice, log_prob = np.empty(len(logits), np.int64), np.empty(len(logits), np.float32)
    draw_into(logits, uniform, choice, log_prob)
    return choice, log_prob


@njit(cache=True)
def draw_into(logits: Array, uniform: Array, choice: Array, log_prob: Array) -> None:
    """`draw`, into arrays that exist."""
    rows, actions = logits.shape
    for i in range(rows):
        largest = logits[i].max()
        total = 0.0
        for a in range(actions):
            total += math.exp(logits[i, a] - largest)
        left = uniform[i] * total
        taken = 0
        for a in range(actions):
            mass = math.exp(logits[i, a] - largest)
            if mass > 0.0:
                taken = a  # the last possible one, if rounding leaves a remainder
                if left < mass:
                    break
                left -= mass
        choice[i] = taken
        log_prob[i] = logits[i, taken] - largest - math.log(total)
