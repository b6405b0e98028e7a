"""One-hot draws from probabilities on the CPU, in one pass over memory.

Gain over a running sum, a comparison and a scatter of torch, `python benchmarks/fast.py`: 1.2 to 1.6 times for 1,024
rows of 32 latents, 1.9 to 2.4 times for 16 rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def draw(probs: Tensor, uniform: Tensor) -> Tensor:
    """One-hot draws [..., C] of probabilities: the first class whose running sum exceeds the uniform number [...]."""
    if probs.is_cpu and probs.dtype == torch.float32 and not torch.compiler.is_compiling():
        out = torch.empty_like(probs, memory_format=torch.contiguous_format)
        parts = (probs.detach().reshape(-1, probs.shape[-1]), uniform.reshape(-1), out.view(-1, probs.shape[-1]))
        draw_one_hot(*(part.contiguous().numpy() for part in parts))
        return out
    return plain_draw(probs, uniform)


def plain_draw(probs: Tensor, uniform: Tensor) -> Tensor:
    """`draw` for any device."""
    below = (probs.detach().cumsum(-1)[..., :-1] <= uniform.unsqueeze(-1)).sum(-1, keepdim=True)
    return torch.zeros_like(probs).scatter_(-1, below, 1.0)


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
