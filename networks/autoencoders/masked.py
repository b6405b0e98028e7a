"""Hidden patches of images (He et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def hidden_patches(shape: torch.Size, patch: int, share: float, generator: torch.Generator) -> Tensor:
    """A mask, bool [B, 1, H, W], of images [B, C, H, W]: True in a share of their patches, of the same number in each.

    The number is rounded, and at least one patch is hidden and one is not.
    """
    batch, _, height, width = shape
    rows, columns = -(-height // patch), -(-width // patch)
    count = min(max(round(share * rows * columns), 1), rows * columns - 1)
    order = torch.rand(batch, rows * columns, generator=generator, device=generator.device).argsort(1)
    mask = torch.zeros(batch, rows * columns, dtype=torch.bool, device=order.device)
    mask.scatter_(1, order[:, :count], True)
    whole = functional.interpolate(mask.view(batch, 1, rows, columns).float(), scale_factor=patch, mode="nearest")
    return whole[..., :height, :width] > 0
