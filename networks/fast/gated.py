"""Parts of a Dreamer's recurrent step on the CPU, each as one pass over memory with its backward pass written out.

Autograd keeps seven nodes for a normalised SiLU and eight for the gates; the sequences that a Dreamer learns from run
through 64 steps of small ones. Tests compare them with the plain forms. Gain over these, forward and backward pass,
`python benchmarks/fast.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from gymnast.networks.fast.gru import sigmoid, tanh

Array = NDArray[Any]
EPS = 1e-4
"""Of the root-mean-square normalisations."""


def suits(*tensors: Tensor) -> bool:
    """Whether these are float32 tensors on the CPU, outside a compiler."""
    ours = all(tensor.is_cpu and tensor.dtype == torch.float32 for tensor in tensors)
    return ours and not torch.compiler.is_compiling()


class NormedSiLU(torch.autograd.Function):
    """silu(x / rms(x) * scale) over the last axis; x [..., F] and scale [F] to [..., F]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        out, inverse = torch.empty_like(rows), torch.empty(len(rows))
        normed_silu(*(part.detach().numpy() for part in (rows, scale, out, inverse)))
        ctx.save_for_backward(rows, scale, inverse)
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor]:
        rows, scale, inverse = ctx.saved_tensors
        grad = grads[0].reshape(rows.shape).contiguous()
        of_x, of_scale = torch.empty_like(rows), torch.zeros_like(scale)
        parts = (rows, scale, inverse, grad, of_x, of_scale)
        normed_silu_backward(*(part.detach().numpy() for part in parts))
        return of_x.view(grads[0].shape), of_scale


class Gates(torch.autograd.Function):
    """The gated step of a state [B, G * D] with gates [G, B, 3 * D]: reset, candidate and update of each block."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, state: Tensor) -> Tensor:
        gates, state = gates.contiguous(), state.contiguous()
        out = torch.empty_like(state)
        gated(*(part.detach().numpy() for part in (gates, state, out)))
        ctx.save_for_backward(gates, state)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor]:
        gates, state = ctx.saved_tensors
        of_gates, of_state = torch.empty_like(gates), torch.empty_like(state)
        parts = (gates, state, grads[0].contiguous(), of_gates, of_state)
        gated_backward(*(part.detach().numpy() for part in parts))
        return of_gates, of_state


@njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def normed_silu(x: Array, scale: Array, out: Array, inverse: Array) -> None:
    rows, features = x.shape
    for row in range(rows):
        total = np.float32(0.0)
        for f in range(features):
            total += x[row, f] * x[row, f]
        root = np.float32(1.0) / np.sqrt(total / np.float32(features) + np.float32(EPS))
        inverse[row] = root
        for f in range(features):
            u = x[row, f] * root * scale[f]
            out[row, f] = u * sigmoid(u)


@njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def normed_silu_backward(x: Array, scale: Array, inverse: Array, grad: Array, of_x: Array, of_scale: Array) -> None:
    """With n = x / rms and u = n * scale: by u silu'(u), by n times scale, by x the part across n over the rms."""
    rows, features = x.shape
    one = np.float32(1.0)
    for row in range(rows):
        root, along = inverse[row], np.float32(0.0)
        for f in range(features):
            n = x[row, f] * root
            u = n * scale[f]
            s = sigmoid(u)
            by_u = grad[row, f] * s * (one + u * (one - s))
            of_scale[f] += by_u * n
            by_n = by_u * scale[f]
            of_x[row, f] = by_n
            along += by_n * n
        along /= np.float32(features)
        for f in range(features):
            of_x[row, f] = root * (of_x[row, f] - x[row, f] * root * along)


@njit(cache=True, fastmath={"contract"})
def gated(gates: Array, state: Array, out: Array) -> None:
    blocks, rows, width = gates.shape
    size, one = width // 3, np.float32(1.0)
    for block in range(blocks):
        for row in range(rows):
            given = gates[block, row]
            before, after = state[row, block * size : (block + 1) * size], out[row, block * size : (block + 1) * size]
            for d in range(size):
                candidate = tanh(sigmoid(given[d]) * given[size + d])
                update = sigmoid(given[2 * size + d] - one)
                after[d] = before[d] + update * (candidate - before[d])


@njit(cache=True, fastmath={"contract"})
def gated_backward(gates: Array, state: Array, grad: Array, of_gates: Array, of_state: Array) -> None:
    blocks, rows, width = gates.shape
    size, one = width // 3, np.float32(1.0)
    for block in range(blocks):
        for row in range(rows):
            given, by = gates[block, row], of_gates[block, row]
            own = slice(block * size, (block + 1) * size)
            before, after, out = state[row, own], grad[row, own], of_state[row, own]
            for d in range(size):
                reset, update = sigmoid(given[d]), sigmoid(given[2 * size + d] - one)
                candidate = tanh(reset * given[size + d])
                by_candidate = after[d] * update * (one - candidate * candidate)
                by[d] = by_candidate * given[size + d] * reset * (one - reset)
                by[size + d] = by_candidate * reset
                by[2 * size + d] = after[d] * (candidate - before[d]) * update * (one - update)
                out[d] = after[d] * (one - update)


@njit(cache=True)
def draw_one_hot(probs: Array, uniform: Array, out: Array) -> None:
    """Fill `out` [R, C] with one-hot draws of probabilities [R, C] by uniform numbers [R]."""
    rows, classes = probs.shape
    for row in range(rows):
        total, chosen = np.float32(0.0), classes - 1
        for c in range(classes - 1):
            total += probs[row, c]
            if uniform[row] < total:
                chosen = c
                break
        for c in range(classes):
            out[row, c] = np.float32(0.0)
        out[row, chosen] = np.float32(1.0)
