"""Fully connected layers over a batch in columns, forward and backward, as compiled code.

Every matrix of a batch has one unit in each row and one sample in each column, with a common stride between rows, so
that loops run over samples whatever a layer's width is. Matrices are parts of one memory, known by their first row.

Both passes are compiled once, on their own, and called by their addresses: compiled into every caller they would take
seconds each time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cfunc
from numba.core import types
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from gymnast.networks.fast.columns_norm import normalise, normalise_backward
from gymnast.networks.fast.compiled_mlp import (
    ABSENT,
    ACTIVATION,
    BIASES,
    COLUMNS,
    INPUTS,
    OUTPUTS,
    RELU,
    SCALE,
    TANH,
    WEIGHTS,
    tanh,
)
from gymnast.networks.fast.compiling import part, vectorized
from gymnast.networks.fast.tiles import LANES, ROWS, WIDE_ROWS, WIDE_VECTORS, outer_tile, product_tile
from gymnast.pointer import call, pointer

Array = NDArray[Any]
NET = np.dtype(
    [
        ("forward", np.int64),  # the addresses of both passes
        ("backward", np.int64),
        ("weights", np.int64),  # address of float32 [size]
        ("gradient", np.int64),  # the same of the gradient by them
        ("size", np.int64),
        ("table", np.int64),  # address of int64 [layers, COLUMNS], the table of `compiled_mlp.Layers`
        ("places", np.int64),  # of int64 [layers], the rows where outputs begin; what a normalisation keeps follows
        ("layers", np.int64),
        ("memory", np.int64),  # address of float32 [room]
        ("room", np.int64),
        ("zeros", np.int64),  # address of float32 [widest], zeros
        ("widest", np.int64),  # units of the widest layer
        ("eps", np.float64),  # of layer normalisations
    ]
)
"""Layers that learn, and memory for a batch; several chains of layers may follow each other."""
_rows, _row, _block, _entry = product_tile(ROWS, 1), product_tile(1, 1), outer_tile(4), outer_tile(1)
_wide_rows, _wide_row = product_tile(WIDE_ROWS, WIDE_VECTORS), product_tile(1, WIDE_VECTORS)
WIDE = LANES * WIDE_VECTORS
"""Samples of a wide tile."""
NEAR = 16
"""Units of a batch whose rows stay in the nearest cache while a gradient of weights is computed."""


@part
def padded(samples: int) -> int:
    """Columns that are computed for a number of samples: whole vectors."""
    return (samples + LANES - 1) // LANES * LANES


@part
def stride_of(samples: int) -> int:
    """Numbers between rows: beyond the columns, lest rows a power of two apart share a place in the cache."""
    return padded(samples) + LANES


@part
def memory_of(net: int, row: int, samples: int) -> Array:
    """The memory of the net at an address, from a row on."""
    record = carray(pointer(net), 1, NET)[0]
    return carray(pointer(record.memory), record.room, np.float32)[row * stride_of(samples) :]


@part
def matrix_of(net: int, row: int, rows: int, samples: int) -> Array:
    """Rows of the memory, one sample in each row: [B, rows]."""
    record, stride = carray(pointer(net), 1, NET)[0], stride_of(samples)
    start = record.memory + row * stride * np.int64(4)
    return carray(pointer(start), (rows, stride), np.float32)[:, :samples].T  # type: ignore[no-any-return]


@part
def gather(net: int, row: int, given: Array, index: Array) -> None:
    """Fill rows of the memory with the samples [S, D] of these numbers, and further columns with zeros."""
    samples, memory = len(index), memory_of(net, row, len(index))
    for feature in range(given.shape[1]):
        line = memory[feature * stride_of(samples) :]
        for column in range(padded(samples)):
            line[column] = given[index[column], feature] if column < samples else np.float32(0.0)


@part
def forward(net: int, first: int, stop: int, inputs: int, samples: int) -> int:
    """Compute layers `first` to `stop` of inputs at a row; returns the row of the output."""
    record = carray(pointer(net), 1, NET)[0]
    call(record.forward, (net, first, stop, inputs, samples))
    return carray(pointer(record.places), record.layers, np.int64)[stop - 1] if stop > first else inputs


@part
def backward(net: int, first: int, stop: int, inputs: int, slopes: int, spare: int, other: int, samples: int) -> None:
    """Write the gradients of layers `first` to `stop`, given the slopes of their output at a row, which are lost.

    Slopes of inputs are written to the rows from `spare` and from `other` in turns, those of the first layer's last;
    they are left out if layer 0 is the first.
    """
    record = carray(pointer(net), 1, NET)[0]
    call(record.backward, (net, first, stop, inputs, slopes, spare, other, samples, ABSENT))


@part
def backward_to(net: int, wanted: int, slopes: int, spare: int, other: int, samples: int) -> int:
    """Slopes of the inputs from number `wanted` on, without gradients of weights; returns the row that they begin at.

    Not for normalised layers. Otherwise as `backward` of all layers.
    """
    record = carray(pointer(net), 1, NET)[0]
    call(record.backward, (net, 0, record.layers, 0, slopes, spare, other, samples, wanted))
    return spare if record.layers % 2 else other


def _forward(net: int, first: int, stop: int, inputs: int, samples: int) -> None:
    record = carray(pointer(net), 1, NET)[0]
    table = carray(pointer(record.table), (record.layers, COLUMNS), np.int64)
    places = carray(pointer(record.places), record.layers, np.int64)
    weights = carray(pointer(record.weights), record.size, np.float32)
    columns, stride = padded(samples), stride_of(samples)
    x = memory_of(net, inputs, samples)
    for number in range(first, stop):
        layer, y = table[number], memory_of(net, places[number], samples)
        size, units = layer[INPUTS], layer[OUTPUTS]
        _multiply(weights, layer[WEIGHTS], size, 1, weights[layer[BIASES] :], x, y, units, size, columns, stride)
        if layer[SCALE] >= 0:
            normalise(weights, layer, record.eps, y, columns, stride)
        _activate(y[: units * stride], layer[ACTIVATION])
        x = y


def _backward(
    net: int, first: int, stop: int, inputs: int, slopes: int, spare: int, other: int, samples: int, wanted: int
) -> None:
    record = carray(pointer(net), 1, NET)[0]
    table = carray(pointer(record.table), (record.layers, COLUMNS), np.int64)
    places = carray(pointer(record.places), record.layers, np.int64)
    weights = carray(pointer(record.weights), record.size, np.float32)
    gradient = carray(pointer(record.gradient), record.size, np.float32)
    zeros = carray(pointer(record.zeros), record.widest, np.float32)
    columns, stride = padded(samples), stride_of(samples)
    for number in range(stop - 1, first - 1, -1):
        layer, y = table[number], memory_of(net, places[number], samples)
        size, units, slope = layer[INPUTS], layer[OUTPUTS], memory_of(net, slopes, samples)
        _derive(y[: units * stride], slope[: units * stride], layer[ACTIVATION])
        if wanted == ABSENT:  # gradients of weights are
            x = memory_of(net, inputs if number == first else places[number - 1], samples)
            if layer[SCALE] >= 0:
                normalise_backward(weights, gradient, layer, y, slope, columns, stride)
            row_sums(slope, gradient[layer[BIASES] :], units, columns, stride)
            _outer(slope, x, gradient[layer[WEIGHTS] :], units, size, columns, stride)
        skipped = wanted if number == 0 else 0
        if skipped != ABSENT:
            below, start, rows = memory_of(net, spare, samples), layer[WEIGHTS] + skipped, size - skipped
            _multiply(weights, start, 1, size, zeros, slope, below, rows, units, columns, stride)
            slopes, spare, other = spare, other, spare


@cache
def passes() -> tuple[Any, Any]:
    """Both passes, compiled or from the cache on disk; keep them for as long as a net has their addresses."""
    made = [
        cfunc(types.void(*[types.int64] * function.__code__.co_argcount), cache=True, nogil=True, error_model="numpy")(
            function
        )
        for function in (_forward, _backward)
    ]
    return made[0], made[1]


@part
def _multiply(
    w: Array,
    start: int,
    row_stride: int,
    column_stride: int,
    bias: Array,
    x: Array,
    y: Array,
    rows: int,
    depth: int,
    columns: int,
    stride: int,
) -> None:
    """y = bias + w x, for weights [rows, depth] with these strides and x [depth, columns]."""
    wide = columns // WIDE * WIDE
    for column in range(0, wide, WIDE):
        row = 0
        while row < rows:
            at, to = start + row * row_stride, row * stride + column
            if row + WIDE_ROWS <= rows:
                _wide_rows(w, at, row_stride, column_stride, x, column, y, to, stride, bias, row, depth)
                row += WIDE_ROWS
            else:
                _wide_row(w, at, row_stride, column_stride, x, column, y, to, stride, bias, row, depth)
                row += 1
    for column in range(wide, columns, LANES):
        row = 0
        while row < rows:
            at, to = start + row * row_stride, row * stride + column
            if row + ROWS <= rows:
                _rows(w, at, row_stride, column_stride, x, column, y, to, stride, bias, row, depth)
                row += ROWS
            else:
                _row(w, at, row_stride, column_stride, x, column, y, to, stride, bias, row, depth)
                row += 1


@part
def _outer(d: Array, x: Array, g: Array, rows: int, depth: int, columns: int, stride: int) -> None:
    """g = d x^T, [rows, depth], for d [rows, columns] and x [depth, columns]."""
    for start in range(0, depth, NEAR):
        stop, row = min(start + NEAR, depth), 0
        while row < rows:
            column, step = start, 4 if row + 4 <= rows else 1
            while column < stop:
                if step == 4 and column + 4 <= stop:
                    _block(d, row * stride, x, column * stride, stride, g, row * depth + column, depth, columns)
                    column += 4
                else:
                    for line in range(row, row + step):
                        _entry(d, line * stride, x, column * stride, stride, g, line * depth + column, depth, columns)
                    column += 1
            row += step


@vectorized
def row_sums(matrix: Array, total: Array, rows: int, columns: int, stride: int) -> None:
    """Write the sum of each row's columns."""
    for row in range(rows):
        line, found = matrix[row * stride :], np.float32(0.0)
        for column in range(columns):
            found += line[column]
        total[row] = found


@vectorized
def _activate(output: Array, activation: int) -> None:
    if activation == TANH:
        for index in range(len(output)):
            output[index] = tanh(output[index])
    elif activation == RELU:
        for index in range(len(output)):
            output[index] = max(output[index], np.float32(0.0))


@vectorized
def _derive(output: Array, slope: Array, activation: int) -> None:
    """Slopes before the activation from those after it, in place."""
    if activation == TANH:
        for index in range(len(output)):
            slope[index] *= np.float32(1.0) - output[index] * output[index]
    elif activation == RELU:
        for index in range(len(output)):
            slope[index] = slope[index] if output[index] > np.float32(0.0) else np.float32(0.0)
