"""Random numbers that are a function of a seed and a counter, in operations that every exported form has.

The hash is `lowbias32` (Wellons 2018), two multiplications and three shifts of 32 bits, applied to the counter, the
seed's upper half and its lower half in turn. It is written with int64 numbers that never overflow: exported graphs have
no shifts of signed integers, and what an overflow gives is not defined everywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WORD = 1 << 32
HALF = 1 << 16
BITS = 24
"""Random bits of a number: what a float32 holds."""
GOLDEN = 0x9E3779B9


def _times(x: Tensor, factor: int) -> Tensor:
    """x * factor modulo 2^32, in parts that fit into 63 bits."""
    low, high = factor % HALF, factor // HALF
    return (x * low + (x * high) % HALF * HALF) % WORD


def _hashed(x: Tensor) -> Tensor:
    """A bijection of the numbers below 2^32 under which neighbours go far apart."""
    x = torch.bitwise_xor(x, x // (1 << 16))
    x = _times(x, 0x7FEB352D)
    x = torch.bitwise_xor(x, x // (1 << 15))
    x = _times(x, 0x846CA68B)
    return torch.bitwise_xor(x, x // (1 << 16))


def uniform(seed: Tensor, count: int) -> Tensor:
    """float32 [N, count], strictly between 0 and 1, for seeds int64 [N]; the same for the same seed, everywhere."""
    low = (seed % WORD).unsqueeze(1)  # of negative ones too: the remainder has the sign of the divisor
    high = ((seed - seed % WORD) // WORD % WORD).unsqueeze(1)
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=seed.device) * GOLDEN % WORD
    bits = _hashed(torch.bitwise_xor(low, _hashed(torch.bitwise_xor(high, _hashed(counter)))))
    return ((bits // (1 << (32 - BITS))).float() + 0.5) * 2.0**-BITS


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel numbers: the largest sum with logits is at a choice drawn by their softmax."""
    return -torch.log(-torch.log(uniform))


def normal(uniform: Tensor) -> Tensor:
    """Standard normal numbers [..., D] from uniform ones [..., 2 D] (Box & Muller 1958)."""
    radius, angle = uniform.chunk(2, -1)
    return torch.sqrt(-2.0 * torch.log(radius)) * torch.cos(2.0 * math.pi * angle)
