"""Layer normalisation of a batch in columns, forward and backward, as compiled code (Ba et al. 2016)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymnast.networks.fast.compiled_mlp import OUTPUTS, SCALE, SHIFT
from gymnast.networks.fast.compiling import vectorized

Array = NDArray[Any]


def kept_rows(units: int) -> int:
    """Rows of memory after a layer's output: normalised numbers, and three of numbers for each column."""
    return units + 3


@vectorized
def normalise(weights: Array, table: Array, eps: float, output: Array, columns: int, stride: int) -> None:
    """Replace the output by the normalised one; after it are kept normalised numbers and reciprocal deviations."""
    units = table[OUTPUTS]
    normal, numbers = output[units * stride :], output[2 * units * stride :]
    mean, deviation = numbers[:columns], numbers[stride : stride + columns]
    for column in range(columns):
        mean[column] = deviation[column] = np.float32(0.0)
    share = np.float32(1.0 / units)
    for unit in range(units):
        line = output[unit * stride :]
        for column in range(columns):
            mean[column] += line[column] * share
    for unit in range(units):
        line, distance = output[unit * stride :], normal[unit * stride :]
        for column in range(columns):
            distance[column] = line[column] - mean[column]
            deviation[column] += distance[column] * distance[column] * share
    for column in range(columns):
        deviation[column] = np.float32(1.0) / math.sqrt(deviation[column] + np.float32(eps))
    for unit in range(units):
        line, distance = output[unit * stride :], normal[unit * stride :]
        scale, shift = weights[table[SCALE] + unit], weights[table[SHIFT] + unit]
        for column in range(columns):
            distance[column] *= deviation[column]
            line[column] = scale * distance[column] + shift


@vectorized
def normalise_backward(
    weights: Array, gradient: Array, table: Array, output: Array, slope: Array, columns: int, stride: int
) -> None:
    """Replace the slopes of a normalised output by those of what was normalised, and write the weights' gradients."""
    units = table[OUTPUTS]
    normal, numbers = output[units * stride :], output[2 * units * stride :]
    mean, deviation = numbers[:columns], numbers[stride : stride + columns]
    along = numbers[2 * stride : 2 * stride + columns]  # the mean of slopes times normalised numbers
    for column in range(columns):
        mean[column] = along[column] = np.float32(0.0)
    share = np.float32(1.0 / units)
    for unit in range(units):
        line, distance = slope[unit * stride :], normal[unit * stride :]
        by_scale, by_shift = np.float32(0.0), np.float32(0.0)
        for column in range(columns):
            by_scale += line[column] * distance[column]
            by_shift += line[column]
        gradient[table[SCALE] + unit], gradient[table[SHIFT] + unit] = by_scale, by_shift
        scale = weights[table[SCALE] + unit]
        for column in range(columns):
            line[column] *= scale
            mean[column] += line[column] * share
            along[column] += line[column] * distance[column] * share
    for unit in range(units):
        line, distance = slope[unit * stride :], normal[unit * stride :]
        for column in range(columns):
            line[column] = deviation[column] * (line[column] - mean[column] - distance[column] * along[column])
