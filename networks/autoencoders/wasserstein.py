"""How far latents are from a prior, by a kernel (Tolstikhin et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Of the kernels that are added, as in the authors' code."""


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """Sum of inverse multiquadratic kernels C / (C + |x - y|^2) of latents [N, L] and [M, L]: [N, M].

    C is 2 L, the expected squared distance of two standard normal latents, times each of `SCALES`.
    """
    squared = one.square().sum(1, keepdim=True) + other.square().sum(1) - 2 * one @ other.T
    squared = squared.clamp(min=0)  # rounding makes distances of equal latents negative
    found = torch.zeros_like(squared)
    for scale in SCALES:
        size = 2.0 * one.shape[1] * scale
        found = found + size / (size + squared)
    return found


def discrepancy(latent: Tensor, drawn: Tensor) -> Tensor:
    """The squared maximum mean discrepancy of latents [N, L] and samples of a prior [M, L] (Gretton et al. 2012).

    It is the unbiased estimate (algorithm 2), which may be negative; a kernel of a latent with itself does not count.
    """
    return _within(latent) + _within(drawn) - 2 * similarity(latent, drawn).mean()


def _within(latent: Tensor) -> Tensor:
    """The mean over pairs of different latents; 0 of one latent."""
    found, count = similarity(latent, latent), len(latent)
    return (found.sum() - found.diagonal().sum()) / max(count * (count - 1), 1)
