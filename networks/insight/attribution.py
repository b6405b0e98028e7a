"""Attribution: how much each number of an input contributes to one output of a network.

A score takes inputs [B, ...] to numbers [B], each of which depends only on its own row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Score: TypeAlias = Callable[[Tensor], Tensor]
BATCH = 128
"""Inputs that go through the network together, at most."""


def gradient(score: Score, x: Tensor) -> Tensor:
    """The gradient of the score by each number of the inputs [B, ...] (saliency, Simonyan et al. 2014)."""
    asked = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        total = score(asked).sum()
    (found,) = torch.autograd.grad(total, asked)
    return found


def in_batches(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of rows on all rows of x, `BATCH` at a time."""
    return torch.cat([function(part) for part in torch.split(x, BATCH)])


@dataclass(frozen=True)
class Integrated:
    """Integrated gradients of one input."""

    attribution: Tensor
    """[...], in the score's units."""
    difference: float
    """The score of the input less that of the baseline."""
    steps: int

    @property
    def error(self) -> float:
        """The sum of the attributions less the difference, which is 0 for an exact integral (completeness)."""
        return float(self.attribution.double().sum()) - self.difference


def integrated_gradients(score: Score, x: Tensor, baseline: Tensor, *, steps: int) -> Integrated:
    """Gradients along the straight line from the baseline, both [...], times the way (Sundararajan et al. 2017, eq. 3).

    The integral is the mean over the midpoints of `steps` equal parts.
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    way = x - baseline
    total = torch.zeros_like(x, dtype=torch.float64)
    places = (torch.arange(steps, dtype=torch.float32, device=x.device) + 0.5) / steps
    for part in torch.split(places, BATCH):
        line = baseline + part.view(-1, *[1] * x.dim()) * way
        total += gradient(score, line).double().sum(0)
    with torch.no_grad():
        at_end, at_start = score(torch.stack([x, baseline])).double().tolist()
    return Integrated((way.double() * total / steps).float(), at_end - at_start, steps)


def complete(score: Score, x: Tensor, baseline: Tensor, *, steps: int, tolerance: float, most: int) -> Integrated:
    """`integrated_gradients` with twice the steps until its error is at most that share of the difference.

    It stops at `most` steps; the result's `error` says how far it got.
    """
    while True:
        found = integrated_gradients(score, x, baseline, steps=steps)
        if abs(found.error) <= tolerance * abs(found.difference) or 2 * steps > most:
            return found
        steps *= 2


def smooth_gradient(
    score: Score, x: Tensor, *, sigma: Tensor | float, samples: int, generator: torch.Generator
) -> Tensor:
    """The mean gradient at copies of an input [...] with Gaussian noise (SmoothGrad, Smilkov et al. 2017).

    `sigma` is the noise's standard deviation, in the units of the input: one number or [...].
    """
    if samples < 1:
        raise ValueError(f"samples must be >= 1, got {samples}")
    noise = torch.randn((samples, *x.shape), generator=generator, device=x.device)
    return in_batches(lambda part: gradient(score, part), x + sigma * noise).mean(0)


@torch.no_grad()
def occlusion(score: Score, x: Tensor, fill: Tensor, masks: Tensor) -> Tensor:
    """How far the score falls when parts of an input are replaced (Zeiler & Fergus 2014, section 4.2).

    Args:
        score: of inputs [B, ...].
        x: one input [...].
        fill: what replaces a part, [...].
        masks: the parts, bool [K, ...].

    Returns:
        For each number of the input, [...], the mean fall over the parts that it is in; 0 if it is in none.
    """
    whole = score(x.unsqueeze(0))
    falls = in_batches(lambda part: whole - score(torch.where(part, fill, x)), masks)  # [K]
    weights = masks.flatten(1).double()
    count = weights.sum(0)
    return (falls.double() @ weights / count.clamp(min=1.0)).view_as(x).float()


def patches(height: int, width: int, *, size: int, stride: int) -> Tensor:
    """Squares of a picture as masks, bool [K, height, width]; those at the far edges are cut off, so that all is seen.

    Raises:
        ValueError: a stride larger than the squares, which would leave gaps.
    """
    if not 1 <= stride <= size:
        raise ValueError(f"stride must be >= 1 and at most size {size}, got {stride}")
    found = []
    for top in range(0, max(height - size + stride, 1), stride):
        for left in range(0, max(width - size + stride, 1), stride):
            mask = torch.zeros(height, width, dtype=torch.bool)
            mask[top : top + size, left : left + size] = True
            found.append(mask)
    return torch.stack(found)
