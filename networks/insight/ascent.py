"""Feature visualisation: the input that excites a unit most, by gradient ascent (Erhan et al. 2009)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.networks.insight.canvas import Canvas, Collage, descend


@dataclass(frozen=True)
class Ascent:
    """How inputs climb, and what keeps them from being noise (Olah et al. 2017)."""

    steps: int = 256
    rate: float = 0.05
    """Step size of Adam."""
    variation: float = 0.5
    """Weight of the total variation between neighbouring pixels."""
    decay: float = 0.5
    """Weight of the squared distance from the middle, in shares of the range."""
    jitter: int = 2
    """Pixels that a picture is shifted by at random in each step, at most."""


def climb(
    objective: Callable[[Tensor], Tensor],
    canvas: Canvas | Collage,
    *,
    settings: Ascent,
    generator: torch.Generator,
) -> Tensor:
    """Inputs [B, ...] that raise the objective, of inputs [B, ...] a number [B] each.

    The objective is divided by its first size, so that the weights of the regularisation mean the same for every unit.
    `generator` draws the shifts, on the CPU.
    """
    with torch.no_grad():
        size = objective(canvas.picture()).abs().clamp(min=1e-3)
        centre = torch.sigmoid(canvas.offset)

    def loss(shares: Tensor) -> Tensor:
        seen = canvas.shifted(canvas.low + canvas.span * shares, settings.jitter, generator=generator)
        found = settings.decay * (shares - centre).square().flatten(1).mean(1) - objective(seen) / size
        return found + settings.variation * canvas.variation(shares)

    return descend(canvas, loss, steps=settings.steps, rate=settings.rate)[0]
