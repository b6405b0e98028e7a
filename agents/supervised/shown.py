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


@dataclass(frozen=True)
class ImageGrid:
    """Grey images [R, C, H, W] in rows and columns, and a title for each row or none; they share one scale."""

    images: Tensor
    titles: tuple[str, ...] = ()


Shown: TypeAlias = ConfusionMatrix | Scatter | ImageGrid
