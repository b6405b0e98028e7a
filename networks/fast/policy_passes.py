"""Both passes of an actor-critic of fully connected layers over a batch in columns, as compiled code."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from gymnast.networks.fast.columns import (
    NET,
    backward,
    forward,
    matrix_of,
    memory_of,
    padded,
    row_sums,
    stride_of,
)
from gymnast.networks.fast.compiling import part, vectorized
from gymnast.pointer import pointer

Array = NDArray[Any]


class PolicyNet(NamedTuple):
    """An actor-critic: a shared trunk of layers 0 to `trunk`, the policy's layers to `policy`, then the value's.

    Trunks that are not shared belong to the policy's and the value's layers, and `trunk` is 0; beyond a shared trunk
    both have one layer. The first rows of the memory are the outputs with the log standard deviations after them,
    then the slopes by these and by the values.
    """

    net: int
    """Address of a record of `NET`."""
    trunk: int
    policy: int
    layers: int
    outputs: int
    values: int
    scales: int
    log_std: int
    """Where in the weights the log standard deviations begin, of which there are `scales`."""
    inputs: int
    """A row of the memory, as the next two."""
    spare: int
    other: int


@part
def policy_forward(policy: PolicyNet, samples: int) -> tuple[Array, Array]:
    """Outputs [B, P + scales] and values [B, V] of the inputs in the memory."""
    net, stride = policy.net, stride_of(samples)
    features = forward(net, 0, policy.trunk, policy.inputs, samples)
    output = memory_of(net, forward(net, policy.trunk, policy.policy, features, samples), samples)
    value = forward(net, policy.policy, policy.layers, features, samples)
    kept = memory_of(net, 0, samples)  # slices are assigned in loops: anything else takes long to compile
    for index in range(policy.outputs * stride):
        kept[index] = output[index]
    record = carray(pointer(net), 1, NET)[0]
    weights, scales = carray(pointer(record.weights), record.size, np.float32), kept[policy.outputs * stride :]
    for index in range(policy.scales * stride):
        scales[index] = weights[policy.log_std + index // stride]
    return matrix_of(net, 0, policy.outputs + policy.scales, samples), matrix_of(net, value, policy.values, samples)


@part
def slopes_of(policy: PolicyNet, samples: int) -> tuple[Array, Array]:
    """Where the slopes by outputs [B, P + scales] and values [B, V] belong; those of padding are zero."""
    net, outputs, stride = policy.net, policy.outputs + policy.scales, stride_of(samples)
    memory = memory_of(net, outputs, samples)
    for index in range((outputs + policy.values) * stride):
        memory[index] = np.float32(0.0)
    return matrix_of(net, outputs, outputs, samples), matrix_of(net, 2 * outputs, policy.values, samples)


@part
def policy_backward(policy: PolicyNet, samples: int) -> None:
    """Write the gradient, given the slopes of outputs and values, after a forward pass of the same samples."""
    net, trunk, outputs = policy.net, policy.trunk, policy.outputs + policy.scales
    record = carray(pointer(net), 1, NET)[0]
    gradient = carray(pointer(record.gradient), record.size, np.float32)
    by_scales = memory_of(net, outputs + policy.outputs, samples)
    row_sums(by_scales, gradient[policy.log_std :], policy.scales, padded(samples), stride_of(samples))
    one, other, inputs = policy.spare, policy.other, policy.inputs
    features = carray(pointer(record.places), record.layers, np.int64)[trunk - 1] if trunk > 0 else inputs
    backward(net, trunk, policy.policy, features, outputs, one, other, samples)
    if trunk == 0:
        backward(net, policy.policy, policy.layers, inputs, 2 * outputs, one, other, samples)
        return
    backward(net, policy.policy, policy.layers, features, 2 * outputs, other, one, samples)
    room = (other - one) * stride_of(samples)
    _add(memory_of(net, one, samples)[:room], memory_of(net, other, samples)[:room])
    backward(net, 0, trunk, inputs, one, other, one, samples)


@vectorized
def _add(one: Array, other: Array) -> None:
    for index in range(len(one)):
        one[index] += other[index]
