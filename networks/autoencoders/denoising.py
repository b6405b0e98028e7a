"""Corruption of what a denoising autoencoder is given (Vincent et al. 2010)."""

from __future__ import annotations

import torch
from torch import Tensor


def corrupted(target: Tensor, kind: str, *, noise: float, dropped: float, generator: torch.Generator) -> Tensor:
    """Values [B, ...] with normal noise of deviation `noise` (`gaussian`), or a share set to 0 (`dropout`)."""
    if kind == "gaussian":
        return target + noise * torch.randn(target.shape, generator=generator, device=target.device)
    kept = torch.rand(target.shape, generator=generator, device=target.device) >= dropped
    return target * kept
