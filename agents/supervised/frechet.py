"""The Fréchet distance between two sets of features, as between two normal distributions."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet(one: Tensor, other: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of features [N, F] and [M, F] (Heusel et al. 2017).

    The root is that of C1^(1/2) C2 C1^(1/2), whose eigenvalues are those of C1 C2: it is symmetric, so that singular
    covariances, of fewer examples than features, need nothing added. In float64; covariances are divided by N - 1.
    Few examples bias it upwards: compare only distances of as many of them.

    Raises:
        ValueError: fewer than two examples, which have no covariance.
    """
    if min(len(one), len(other)) < 2:
        raise ValueError(f"a Fréchet distance needs two examples or more, got {len(one)} and {len(other)}")
    means, covariances = zip(*(_moments(part) for part in (one, other)), strict=True)
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = root @ covariances[1] @ root
    roots = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt()
    traces = covariances[0].trace() + covariances[1].trace()
    distance = (means[0] - means[1]).square().sum() + traces - 2 * roots.sum()
    return max(float(distance), 0.0)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [F] and covariance [F, F] in float64."""
    values = features.double()
    centred = values - values.mean(0)
    return values.mean(0), centred.T @ centred / (len(values) - 1)
