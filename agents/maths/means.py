"""Weighted means over the rows that count."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Fraction of a mean below which deviations are rounding errors."""


def shares(count: Tensor) -> Tensor:
    """Weights [B] that sum to 1, in proportion to counts (1 for rows that count, else 0); all 0 if none counts."""
    return count / count.sum().clamp(min=1.0)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean [] of values [B] by weights that sum to 1."""
    return torch.dot(values, weight)


def explained_variance(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - Var(target - value) / Var(target) over the rows that count; []. 0 if the target does not vary."""
    (_, unexplained), (_, variance) = _spread(target - value, weight), _spread(target, weight)
    return torch.where(variance > 0, 1.0 - unexplained / variance.clamp(min=1e-30), 0.0)


def _spread(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [B] to the mean, and variance [] of counted rows, 0 if it is within the mean's rounding error."""
    mean = (values * weight).sum()  # torch.dot is off by more than `ROUNDING` from 1,000 rows on
    centred = values - mean
    variance = weighted_mean(centred.square(), weight)
    return centred, torch.where(variance > (ROUNDING * mean).square(), variance, 0.0)
