"""What pictures of a fitted network show; `gymnast.fitting.pictures` draws them."""

from __future__ import annotations

from collections.abc import Mapping
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
class Grid:
    """Pictures [R, N, H, W, 3] between 0 and 1, and a label of each row."""

    images: Tensor
    rows: tuple[str, ...]

    @staticmethod
    def grey(images: Tensor, rows: tuple[str, ...]) -> Grid:
        """Of numbers [R, N, H, W], the smallest of which becomes black and the largest white."""
        low, high = images.min(), images.max()
        scaled = (images - low) / (high - low).clamp(min=1e-12)
        return Grid(scaled.unsqueeze(-1).expand(*images.shape, 3), rows)


@dataclass(frozen=True)
class Bars:
    """Numbers [K] from the largest to the smallest, and what they are."""

    numbers: Tensor
    xlabel: str
    ylabel: str


@dataclass(frozen=True)
class Line:
    """Points (x, y), from left to right, and what they are."""

    points: tuple[tuple[float, float], ...]
    xlabel: str
    ylabel: str


@dataclass(frozen=True)
class Clouds:
    """Points [N, 2] of the data, behind other points [M, 2] in panels by name, and what the axes are."""

    real: Tensor
    panels: Mapping[str, Tensor]
    xlabel: str
    ylabel: str


Shown: TypeAlias = ConfusionMatrix | Scatter | Grid | Bars | Line | Clouds
