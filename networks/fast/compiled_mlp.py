"""The forward pass of fully connected layers as compiled code, for loops that are compiled around it.

It is part of the compiled rollouts of `gymnast/training/`, whose gain `benchmarks/actor_critic.py --native` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from gymnast.networks.fast.compiling import kernel

Array = NDArray[Any]
LINEAR, TANH, RELU = range(3)
WEIGHTS, BIASES, INPUTS, OUTPUTS, ACTIVATION, SCALE, SHIFT = range(7)
"""Columns of `Layers.table`."""
COLUMNS = 7
ABSENT = -1


class Affine(NamedTuple):
    """The weights [out, in] and biases [out] of a linear layer that is part of something larger."""

    weight: Tensor
    bias: Tensor

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]


class Layer(NamedTuple):
    """A linear layer, an optional normalisation of its output, and an activation."""

    linear: nn.Linear | Affine
    activation: int
    norm: nn.LayerNorm | None = None


class Layers(NamedTuple):
    """Layers one after the other."""

    weights: Array
    """float32 [P], the memory in which the weights lie."""
    table: Array
    """int64 [L, 7]: where each layer's weights [out, in] and its biases [out] begin, inputs, outputs, activation, and
    where the factors [out] and the terms [out] of its normalisation begin, or `ABSENT`."""
    eps: float
    """Of the normalisations."""


def layers_of(weights: Array, layers: Sequence[Layer]) -> Layers:
    """Layers, whose parameters are views of `weights`; normalisations have one epsilon."""
    rows = []
    for layer in layers:
        linear, norm = layer.linear, layer.norm
        at = [offset_of(weights, part) for part in (linear.weight, linear.bias)]
        after = [ABSENT, ABSENT] if norm is None else [offset_of(weights, part) for part in (norm.weight, norm.bias)]
        rows.append((*at, linear.in_features, linear.out_features, layer.activation, *after))
    eps = {layer.norm.eps for layer in layers if layer.norm is not None} or {0.0}
    assert len(eps) == 1
    return Layers(weights, np.array(rows, np.int64), eps.pop())


def widest(*parts: Layers) -> int:
    """The units of the widest layer."""
    return max(int(layers.table[:, OUTPUTS].max()) for layers in parts)


def offset_of(weights: Array, parameter: Tensor) -> int:
    """Where a parameter begins in the memory that it is a view of."""
    part = parameter.detach().numpy()
    start = (part.ctypes.data - weights.ctypes.data) // weights.itemsize
    assert part.flags.c_contiguous
    assert 0 <= start <= len(weights) - part.size
    return start


@kernel
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


@kernel
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
    if table[number, SCALE] >= 0:
        _normalise(layers, number, outputs)
    if activation == TANH:
        for column in range(width):
            outputs[column] = tanh(outputs[column])
    elif activation == RELU:
        for column in range(width):
            outputs[column] = max(outputs[column], np.float32(0.0))


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _normalise(layers: Layers, number: int, outputs: Array) -> None:
    table, width = layers.table[number], layers.table[number, OUTPUTS]
    scale, shift = layers.weights[table[SCALE] :], layers.weights[table[SHIFT] :]
    total = square = np.float32(0.0)
    for column in range(width):
        total += outputs[column]
    mean = np.float32(total / width)
    for column in range(width):
        square += (outputs[column] - mean) ** 2
    deviation = np.float32(1.0 / math.sqrt(square / width + layers.eps))
    for column in range(width):
        outputs[column] = scale[column] * (outputs[column] - mean) * deviation + shift[column]


@njit(cache=True, nogil=True, forceinline=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def tanh(x: float) -> float:
    """Hyperbolic tangent in float32, to 4e-7: a form that the compiler computes for several numbers at once.

    x p(x**2) / q(x**2), fitted to the least largest relative error for |x| <= 8, beyond which it rounds to 1.
    """
    y = min(max(x, np.float32(-8.0)), np.float32(8.0))
    s = y * y
    p = np.float32(1.52303863e-8) * s + np.float32(2.18946395e-5)
    p = (p * s + np.float32(3.57159666e-3)) * s + np.float32(0.134444968)
    q = np.float32(8.52243385e-7) * s + np.float32(3.41128979e-4)
    q = (q * s + np.float32(2.61644377e-2)) * s + np.float32(0.467778241)
    return y * (p * s + np.float32(1.0)) / (q * s + np.float32(1.0))  # type: ignore[no-any-return]
