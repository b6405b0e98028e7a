"""All states of a few binary units, to compute sums over them exactly."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 16
"""Units whose states are enumerated, at most."""


def states(units: int, *, low: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Every state of so many units, [2^units, units], each unit `low` or 1; the last unit changes fastest.

    Raises:
        ValueError: more than `LARGEST` units.
    """
    if not 1 <= units <= LARGEST:
        raise ValueError(f"the states of 1 to {LARGEST} units can be enumerated, got {units}")
    number = torch.arange(2**units)
    bits = (number.unsqueeze(1) >> torch.arange(units - 1, -1, -1)) & 1
    return bits.to(dtype) * (1.0 - low) + low


def index_of(bits: Tensor) -> Tensor:
    """The row of `states` that each state [..., units] of zeros and ones is, int64 [...]."""
    places = 2 ** torch.arange(bits.shape[-1] - 1, -1, -1, device=bits.device)
    return (bits.long() * places).sum(-1)


def total_variation(samples: Tensor, probability: Tensor) -> float:
    """Half the sum of the differences between how often states [N, units] occur and their probabilities [2^units]."""
    share = torch.bincount(index_of(samples).cpu(), minlength=len(probability)).double() / len(samples)
    return float((share - probability.cpu().double()).abs().sum()) / 2
