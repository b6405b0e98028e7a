"""The forward pass of fully connected layers as compiled code, for loops that are compiled around it.

It is part of the compiled rollouts of `gymnast/training/`, whose gain `benchmarks/actor_critic.py --native` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import nn

Array = NDArray[Any]
LINEAR, TANH, RELU = range(3)
WEIGHTS, BIASES, INPUTS, OUTPUTS, ACTIVATION = range(5)
"""Columns of `Layers.table`."""


class Layers(NamedTuple):
    """Layers one after the other."""

    weights: Array
    """float32 [P], the memory in which the weights lie."""
    table: Array
    """int64 [L, 5]: where each layer's weights [out, in] and its biases [out] begin, inputs, outputs, activation."""


def layers_of(weights: Array, layers: Sequence[tuple[nn.Linear, int]]) -> Layers:
    """Linear layers, whose parameters are views of `weights`, and the activation after each."""
    rows = []
    for layer, activation in layers:
        at = [_offset(weights, part.detach().numpy()) for part in (layer.weight, layer.bias)]
        rows.append((*at, layer.in_features, layer.out_features, activation))
    return Layers(weights, np.array(rows, np.int64))


def widest(*parts: Layers) -> int:
    """The units of the widest layer."""
    return max(int(layers.table[:, OUTPUTS].max()) for layers in parts)


def _offset(weights: Array, part: Array) -> int:
    start = (part.ctypes.data - weights.ctypes.data) // weights.itemsize
    assert part.flags.c_contiguous
    assert 0 <= start <= len(weights) - part.size
    return start


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


@njit(cache=True, nogil=True)
def forward_both(one: Layers, other: Layers, features: Array, output: Array, value: Array, scratch: Array) -> None:
    """Both outputs of the same features."""
    forward(one, features, output, scratch)
    forward(other, features, value, scratch)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _layer(layers: Layers, number: int, inputs: Array, outputs: Array) -> None:
    table = layers.table
    size, width, activation = table[number, INPUTS], table[number, OUTPUTS], table[number, ACTIVATION]
    weights, bias = layers.weights[table[number, WEIGHTS] :], layers.weights[table[number, BIASES] :]
    for column in range(width):
        row, total = weights[column * size :], np.float32(0.0)  # a slice: its loop needs no checks of negative indices
        for index in range(size):
            total += inputs[index] * row[index]
        outputs[column] = total + bias[column]
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
