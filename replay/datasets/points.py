"""Classic small problems in the plane."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SPIRAL_POINTS = 97
"""Points of each spiral."""
MIXED = 10_000
"""Points of a mixture."""


class Mixture(NamedTuple):
    """Normal distributions of one deviation, all equally likely."""

    centres: Tensor
    """float32 [M, K]."""
    deviation: float
    """Of each number."""

    def draw(self, number: int, seed: int) -> tuple[Tensor, Tensor]:
        """Points, float32 [number, K], and their modes, int64 [number], equally many of each."""
        generator = torch.Generator().manual_seed(seed)
        mode = torch.arange(number) % len(self.centres)
        noise = torch.randn(number, self.centres.shape[1], generator=generator)
        return self.centres[mode] + self.deviation * noise, mode


def ring() -> Mixture:
    """Eight modes on a circle of radius 2 (Metz et al. 2017)."""
    angle = torch.arange(8) * (math.pi / 4)
    return Mixture(2 * torch.stack([angle.cos(), angle.sin()], 1), 0.02)


def grid() -> Mixture:
    """25 modes on a grid from -4 to 4 (Dumoulin et al. 2017)."""
    line = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(line, line), 0.05)


def xor() -> tuple[Tensor, Tensor]:
    """The four points of exclusive or, float32 [4, 2], and their classes, int64 [4] (Minsky & Papert 1969)."""
    inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return inputs, torch.tensor([0, 1, 1, 0])


def spirals() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Two spirals of three turns each (Lang & Witbrock 1988): inputs [388, 2], classes [388], splits.

    The training split is the 194 points of the paper. The validation split is the 194 points half a step further along
    each spiral: in between the others, and one beyond the inner end of each.
    """
    trained, trained_classes = _spirals(0.0)
    between, between_classes = _spirals(0.5)
    inputs, targets = torch.cat([trained, between]), torch.cat([trained_classes, between_classes])
    half = len(trained)
    return inputs, targets, {"train": torch.arange(half), "validation": torch.arange(half, 2 * half)}


def _spirals(shift: float) -> tuple[Tensor, Tensor]:
    """The points `shift` steps further than those of the paper; the second spiral mirrors the first at the origin."""
    step = torch.arange(SPIRAL_POINTS, dtype=torch.float64) + shift
    angle, radius = step * math.pi / 16, 6.5 * (104 - step) / 104
    first = torch.stack([radius * angle.sin(), radius * angle.cos()], 1)
    classes = torch.arange(2).repeat_interleave(SPIRAL_POINTS)
    return torch.cat([first, -first]).float(), classes
