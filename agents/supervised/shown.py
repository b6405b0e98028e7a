"""What pictures of a fitted network show; `gymnast.fitting.pictures` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts [C, C] of examples by class (row) and predicted class (column), and the names of the classes."""

    counts: Tensor
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Scatter:
    """Predicted and true numbers, both [N, K]."""

    output: Tensor
    target: Tensor


Shown: TypeAlias = ConfusionMatrix | Scatter
