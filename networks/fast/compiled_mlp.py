"""The forward pass of fully connected layers as compiled code, for loops that are compiled around it.

It is part of the compiled rollouts of `gymnast/training/`, whose gain `benchmarks/actor_critic.py --native` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
LINEAR, TANH, RELU = range(3)
OFFSET, INPUTS, OUTPUTS, ACTIVATION = range(4)
"""Columns of `Layers.table`."""


class Layers(NamedTuple):
    """Layers one after the other."""

    weights: Array
    """float32 [P]: of each layer its weights [in, out] and biases [out]."""
    table: Array
    """int64 [L, 4]: where each layer's weights begin, inputs, outputs, activation."""


class CompiledMLP:
    """Copies layers (weight [out, in], bias [out], activation) into the form that compiled code reads."""

    def __init__(self, layers: Sequence[tuple[Array, Array, int]]) -> None:
        self._layers = layers
        rows, offset = [], 0
        for weight, bias, activation in layers:
            rows.append((offset, weight.shape[1], weight.shape[0], activation))
            offset += weight.size + bias.size
        self.layers = Layers(np.empty(offset, np.float32), np.array(rows, np.int64))
        self.width = max(weight.shape[0] for weight, _, _ in layers)
        """Of the widest layer."""

    def refresh(self) -> Layers:
        """The layers with the current weights."""
        for (weight, bias, _), (offset, inputs, outputs, _) in zip(self._layers, self.layers.table, strict=True):
            middle = offset + inputs * outputs
            self.layers.weights[offset:middle].reshape(inputs, outputs)[...] = weight.T
            self.layers.weights[middle : middle + outputs] = bias
        return self.layers


@njit(cache=True, nogil=True)
def forward(layers: Layers, features: Array, output: Array, scratch: Array) -> None:
    """Write the output [N, O] of features float32 [N, D]; `scratch` is float32 [2, widest layer]."""
    last = len(layers.table) - 1
    for row in range(len(features)):
        inputs = features[row]
        for number in range(last):
            outputs = scratch[number % 2]
            _layer(layers, number, inputs, outputs)
            inputs = outputs
        _layer(layers, last, inputs, output[row])


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _layer(layers: Layers, number: int, inputs: Array, outputs: Array) -> None:
    table = layers.table
    size, width, activation = table[number, INPUTS], table[number, OUTPUTS], table[number, ACTIVATION]
    weights = layers.weights[table[number, OFFSET] :]
    bias = weights[size * width :]
    for column in range(width):
        outputs[column] = bias[column]
    whole = size - size % 4
    for index in range(0, whole, 4):  # four at once, so that the outputs are read and written a fourth as often
        a, b, c, d = inputs[index], inputs[index + 1], inputs[index + 2], inputs[index + 3]
        first, second = weights[index * width :], weights[(index + 1) * width :]
        third, fourth = weights[(index + 2) * width :], weights[(index + 3) * width :]
        for column in range(width):
            outputs[column] += a * first[column] + b * second[column] + c * third[column] + d * fourth[column]
    for index in range(whole, size):
        factor, row = inputs[index], weights[index * width :]
        for column in range(width):
            outputs[column] += factor * row[column]
    if activation == TANH:
        for column in range(width):
            outputs[column] = tanh(outputs[column])
    elif activation == RELU:
        for column in range(width):
            outputs[column] = max(outputs[column], np.float32(0.0))


@njit(cache=True, nogil=True, forceinline=True, error_model="numpy")
def tanh(x: float) -> float:
    """Hyperbolic tangent in float32, to 2.5e-7: a form that the compiler computes for several numbers at once.

    Lambert's continued fraction at a quarter of x, where it has converged, then twice tanh 2y = 2 t / (1 + t**2).
    """
    y = np.float32(0.25) * min(max(x, np.float32(-9.0)), np.float32(9.0))
    s = y * y
    above = y * (np.float32(135135.0) + s * (np.float32(17325.0) + s * (np.float32(378.0) + s)))
    below = np.float32(135135.0) + s * (np.float32(62370.0) + s * (np.float32(3150.0) + s * np.float32(28.0)))
    t = above / below
    t = np.float32(2.0) * t / (np.float32(1.0) + t * t)
    return np.float32(2.0) * t / (np.float32(1.0) + t * t)  # type: ignore[no-any-return]
