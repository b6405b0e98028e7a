"""Q-networks of fully connected layers with both passes compiled: the same gradients as autograd's, in less time.

PQN has it. DQN's form, `q_backward.py`, is made of calls of torch, because Numba takes 60 MB of memory that a plain DQN
otherwise does without.

Gain over that form, CPU time of a whole update of PQN on one thread: 2.1 to 2.6 times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gymnast.networks.fast.batch_net import ACTIVATIONS, FORWARD, LEARNING, BatchNet, learns_here, mlp_layers
from gymnast.networks.fast.columns import backward, forward, gather, matrix_of, memory_of, stride_of
from gymnast.networks.fast.compiled_mlp import LINEAR, Layer
from gymnast.networks.fast.compiling import kernel, part
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.heads.q import QHead, QNetwork
from gymnast.networks.layers.noisy import Linear

Array = NDArray[Any]


class QNet(NamedTuple):
    """A chain of layers with that many outputs; the first rows of the memory are the slopes by them."""

    net: int
    """Address of a record of `columns.NET`."""
    layers: int
    outputs: int
    inputs: int
    """A row of the memory, as the next two."""
    spare: int
    other: int


class CompiledQ:
    """Computes `network(obs)`, [B, A, K]; `write_gradients` writes into the flat gradient.

    Unlike autograd it overwrites gradients instead of adding to them: one forward and one backward pass per update.
    """

    def __init__(self, network: QNetwork, layers: list[Layer], flat: FlatParameters) -> None:
        self.flat, self.head = flat, network.head
        outputs = layers[-1].linear.out_features
        self._batch = batch = BatchNet(layers, flat, outputs=outputs)
        self._net = QNet(batch.address, len(layers), outputs, batch.inputs, batch.spare, batch.other)
        flat.added = flat.grad[:0]

    def reserve(self, samples: int, *, products: int = FORWARD) -> QNet:
        """The network for compiled code, with memory for a batch."""
        self._batch.reserve(samples, products)
        return self._net

    def __call__(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled() and self.flat.parameter.requires_grad:
            output: Tensor = _Apply.apply(self.flat.parameter, obs, self)  # type: ignore[no-untyped-call]
        else:
            output = self.forward(obs)
        return output.view(-1, self.head.actions, self.head.outputs)  # type: ignore[call-overload,no-any-return]

    def forward(self, obs: Tensor) -> Tensor:
        """Outputs [B, A * K], for the backward pass of the same batch."""
        return torch.from_numpy(_forward(self.reserve(len(obs)), obs.contiguous().numpy()))

    def write_gradients(self, by_output: Tensor) -> None:
        """Backpropagate the gradient of the output, [B, A * K]."""
        self._batch.reserve(len(by_output), LEARNING - FORWARD)
        _backward(self._net, by_output.contiguous().numpy())


class _Apply(torch.autograd.Function):
    """Puts a `CompiledQ` into autograd's graph, so that any loss may follow it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, obs: Tensor, plain: CompiledQ) -> Tensor:
        ctx.plain = plain
        return plain.forward(obs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None, None]:
        ctx.plain.write_gradients(grads[0])
        return None, None, None


@part
def q_forward(q: QNet, obs: Array, index: Array) -> Array:
    """The outputs [B, A * K] of the observations [S, D] of these numbers, in the memory."""
    samples = len(index)
    gather(q.net, q.inputs, obs, index)
    return matrix_of(q.net, forward(q.net, 0, q.layers, q.inputs, samples), q.outputs, samples)


@part
def q_slopes(q: QNet, samples: int) -> Array:
    """Where the slopes by outputs [B, A * K] belong; they are zero."""
    memory = memory_of(q.net, 0, samples)
    for index in range(q.outputs * stride_of(samples)):
        memory[index] = np.float32(0.0)
    return matrix_of(q.net, 0, q.outputs, samples)


@part
def q_backward(q: QNet, samples: int) -> None:
    """Write the gradient, given the slopes, after a forward pass of the same samples."""
    backward(q.net, 0, q.layers, q.inputs, 0, q.spare, q.other, samples)


@kernel
def _forward(q: QNet, obs: Array) -> Array:
    found = q_forward(q, obs, np.arange(len(obs)))
    output = np.empty((len(obs), q.outputs), np.float32)
    _copy(found, output)
    return output


@kernel
def _backward(q: QNet, by_output: Array) -> None:
    _copy(by_output, q_slopes(q, len(by_output)))
    q_backward(q, len(by_output))


@part
def _copy(source: Array, target: Array) -> None:
    for row in range(source.shape[0]):
        for column in range(source.shape[1]):
            target[row, column] = source[row, column]


def plain_layers(network: nn.Module) -> list[Layer] | None:
    """The layers of a network of tanh or ReLU layers over a flat Box of floats, else None."""
    if type(network) is not QNetwork or type(network.head) is not QHead:
        return None
    below, stream = mlp_layers(network.backbone), network.head.stream
    if below is None or stream.activation not in ACTIVATIONS:
        return None
    above = [*stream.hidden, stream.output]
    if any(type(layer) not in (nn.Linear, Linear) for layer in above):
        return None
    activation = ACTIVATIONS[stream.activation]
    hidden = [Layer(layer, activation) for layer in stream.hidden]  # type: ignore[arg-type]
    return [*below, *hidden, Layer(stream.output, LINEAR)]  # type: ignore[arg-type]


def compiled_q(network: QNetwork, flat: FlatParameters) -> CompiledQ | QNetwork:
    """The network itself, or the same function in a faster form if it has one; `flat` holds its parameters."""
    layers = plain_layers(network)
    return CompiledQ(network, layers, flat) if layers is not None and learns_here(network) else network
