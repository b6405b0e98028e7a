"""Precision and recall of generated examples, by the manifolds of their features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEIGHBOURS = 3
"""Neighbours within whose distance a point's ball reaches."""
CHUNK = 512
"""Rows of distances that are held at once."""


class Manifolds(NamedTuple):
    """How the manifolds of real and of generated examples lie to each other."""

    precision: float
    """Share of the generated ones within the manifold of the real ones."""
    recall: float
    """Share of the real ones within the manifold of the generated ones."""


def manifolds(real: Tensor, fake: Tensor, *, neighbours: int = NEIGHBOURS) -> Manifolds:
    """Compare features [N, F] and [M, F] (Kynkäänniemi et al. 2019, eq. 1 and 2), from exact distances.

    A manifold is a ball around each example that reaches to its `neighbours`-th nearest one of its own kind.

    Raises:
        ValueError: no more examples than neighbours.
    """
    if min(len(real), len(fake)) <= neighbours:
        raise ValueError(f"precision and recall need more than {neighbours} examples, got {min(len(real), len(fake))}")
    centre = real.double().mean(0)
    real, fake = real.double() - centre, fake.double() - centre
    of_real, of_fake = radii(real, neighbours), radii(fake, neighbours)
    covered = torch.zeros(len(real), dtype=torch.bool)
    inside = []
    for part, radius in zip(torch.split(fake, CHUNK), torch.split(of_fake, CHUNK), strict=True):
        distance = _distances(part, real)  # [m, N]
        inside.append((distance <= of_real).any(1))
        covered |= (distance <= radius.unsqueeze(1)).any(0)
    return Manifolds(torch.cat(inside).double().mean().item(), covered.double().mean().item())


def nearest(points: Tensor, others: Tensor) -> Tensor:
    """Of each point of [N, F] the number of the nearest of [M, F], int64 [N]."""
    centre = others.double().mean(0)
    points, others = points.double() - centre, others.double() - centre
    return torch.cat([_distances(part, others).argmin(1) for part in torch.split(points, CHUNK)])


def radii(points: Tensor, neighbours: int) -> Tensor:
    """Distance of each point of [N, F] to its `neighbours`-th nearest other one, [N]."""
    found = []
    for part in torch.split(points, CHUNK):
        nearest = _distances(part, points).topk(neighbours + 1, dim=1, largest=False).values
        found.append(nearest[:, -1])  # the first one is the point itself
    return torch.cat(found)


def _distances(part: Tensor, points: Tensor) -> Tensor:
    return torch.cdist(part, points, compute_mode="use_mm_for_euclid_dist")  # ten times as fast, exact in float64
