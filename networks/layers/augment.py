"""Augmentation of image observations."""

from __future__ import annotations

import torch
from torch import Tensor


def random_shift(
    images: Tensor, pad: int, generator: torch.Generator | None = None, *, is_last: bool = False
) -> Tensor:
    """Each image moved by up to `pad` pixels in both directions, its border repeated (DrQ, Yarats et al. 2021).

    It is a crop at a random place of the image padded by `pad` pixels on each side. `images` are [B, ..., H, W], or
    with `is_last` [B, ..., H, W, C], of any dtype, which the result has too; all channels and frames of an image move
    together. `generator` is on the device of the images.

    Raises:
        ValueError: a negative `pad`.
    """
    if pad < 0:
        raise ValueError(f"pad must be >= 0, got {pad}")
    axes = (-3, -2) if is_last else (-2, -1)
    rows, height, width = len(images), *(images.shape[axis] for axis in axes)
    shift = torch.randint(-pad, pad + 1, (2, rows, 1), generator=generator, device=images.device)
    y = (torch.arange(height, device=images.device) + shift[0]).clamp_(0, height - 1)  # [B, H]
    x = (torch.arange(width, device=images.device) + shift[1]).clamp_(0, width - 1)  # [B, W]
    row = torch.arange(rows, device=images.device)
    moved = images.movedim(axes, (1, 2))[row[:, None, None], y[:, :, None], x[:, None, :]]  # [B, H, W, ...]
    return moved.movedim((1, 2), axes)


def random_intensity(images: Tensor, scale: float, generator: torch.Generator | None = None) -> Tensor:
    """Each image times 1 + `scale` times a normal number within [-2, 2] (SPR, Schwarzer et al. 2021).

    `images` are [B, ...] of any dtype, which the result has too: integers are rounded and stay in range.
    """
    number = torch.randn(len(images), generator=generator, device=images.device).clamp_(-2.0, 2.0)
    factor = (1.0 + scale * number).view(-1, *[1] * (images.dim() - 1))
    if images.is_floating_point():
        return images * factor.to(images.dtype)
    limits = torch.iinfo(images.dtype)
    return (images * factor).round_().clamp_(limits.min, limits.max).to(images.dtype)
