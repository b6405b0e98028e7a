"""Mean and variance of the rows that count, for compiled callers; apart from `means.py`, which needs no Numba."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray

from gymnast.agents.maths.means import ROUNDING

Array = NDArray[Any]


@njit(cache=True)
def moments(values: Array, count: Array) -> tuple[float, float, float]:
    """Weight of one count, and mean and variance of the rows that count, as in `means._spread`."""
    total = max(count.sum(), 1.0)
    mean = square = 0.0
    for i in range(len(values)):
        mean += count[i] * values[i] / total
    for i in range(len(values)):
        square += count[i] * (values[i] - mean) ** 2 / total
    return 1.0 / total, mean, square if square > (ROUNDING * mean) ** 2 else 0.0
