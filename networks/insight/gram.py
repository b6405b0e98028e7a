"""Textures and styles by the Gram matrices of a network's layers (Gatys et al. 2015, 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Inner products of channels over the H * W positions, divided by their number: [B, C, H, W] to [B, C, C]."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def style_distance(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The mean over layers of |G - A|^2 / |A|^2, a number [B] (Gatys et al. 2015, eq. 4, relative to the target).

    `features` are [B, C, H, W] of each layer, `targets` Gram matrices [1, C, C]; a layer that is silent in the target
    counts its Gram matrix as it is.
    """
    parts = []
    for own, target in zip(features, targets, strict=True):
        size = target.square().sum()
        parts.append((gram(own) - target).square().sum((1, 2)) / torch.where(size > 0, size, 1.0))
    return torch.stack(parts).mean(0)


def content_distance(features: Tensor, target: Tensor) -> Tensor:
    """|F - P|^2 / |P|^2 of features [B, ...] and those of the content [1, ...] (Gatys et al. 2016, eq. 1, relative)."""
    size = target.square().sum()
    return (features - target).square().flatten(1).sum(1) / torch.where(size > 0, size, 1.0)
