"""Penalties of active codes."""

from __future__ import annotations

from torch import Tensor

SMALL = 1e-6


def divergence(target: float, latent: Tensor) -> Tensor:
    """Sum over the numbers of latents [B, L] between 0 and 1: KL(target || batch mean), as of coins (Ng 2011)."""
    mean = latent.mean(0).clamp(SMALL, 1 - SMALL)
    return (target * (target / mean).log() + (1 - target) * ((1 - target) / (1 - mean)).log()).sum()
