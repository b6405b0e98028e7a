"""Embeddings in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """Principal components of N points."""

    places: Tensor
    """float64 [N, K]"""
    shares: Tensor
    """float64 [K], the share of the variance along each."""


def principal_components(points: Tensor, count: int = 2) -> Components:
    """The first components of points [N, D]; the largest weight of each direction is positive, so that signs are fixed.

    Points that have fewer directions than `count` are 0 along the others.
    """
    centred = points.double() - points.double().mean(0)
    u, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    rows = torch.arange(len(directions))
    sign = directions[rows, directions.abs().argmax(1)].sign()
    places = (u * sizes * sign)[:, :count]
    shares = sizes.square() / sizes.square().sum().clamp(min=1e-300)
    missing = count - places.shape[1]
    if missing > 0:
        places = torch.cat([places, places.new_zeros(len(places), missing)], 1)
        shares = torch.cat([shares, shares.new_zeros(missing)])
    return Components(places, shares[:count])
