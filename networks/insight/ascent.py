"""Feature visualisation: the input that excites a unit most, by gradient ascent (Erhan et al. 2009)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ascent:
    """How inputs climb. Without regularisation they are noise that excites the unit (Olah et al. 2017)."""

    steps: int = 256
    rate: float = 0.05
    """Step size of Adam, as a share of each number's range."""
    variation: float = 0.5
    """Weight of the total variation between neighbouring pixels."""
    decay: float = 0.5
    """Weight of the squared distance from the middle of the range."""
    jitter: int = 2
    """Pixels that a picture is shifted by at random in each step, at most."""


def climb(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    low: Tensor,
    high: Tensor,
    middle: Tensor,
    axes: tuple[int, int] | None,
    settings: Ascent,
    generator: torch.Generator,
) -> Tensor:
    """Inputs [B, ...] that raise the objective [B], each number within [low, high].

    The objective is divided by its first size, so that the weights of the regularisation mean the same for every unit.

    Args:
        objective: of inputs [B, ...], one number [B] each.
        start: the first inputs.
        low, high, middle: bounds of each number, and where `decay` pulls to, [...].
        axes: the axes of `start` along which pixels are neighbours; None for vectors.
        settings: steps and regularisation.
        generator: of the shifts.
    """
    span = high - low
    place = ((start - low) / span).detach().clone().requires_grad_(True)
    centre = (middle - low) / span
    optimizer = torch.optim.Adam([place], lr=settings.rate)
    with torch.no_grad():
        size = objective(start).abs().clamp(min=1e-3)
    for _ in range(settings.steps):
        seen = low + span * place
        if axes is not None and settings.jitter:
            shift = torch.randint(-settings.jitter, settings.jitter + 1, (2,), generator=generator).tolist()
            seen = torch.roll(seen, shift, axes)
        loss = -(objective(seen) / size)
        loss = loss + settings.decay * (place - centre).square().flatten(1).mean(1)
        if axes is not None:
            loss = loss + settings.variation * variation(place, axes)
        optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            place.clamp_(0.0, 1.0)
    return (low + span * place).detach()


def variation(x: Tensor, axes: tuple[int, int]) -> Tensor:
    """Total variation [B] of pictures [B, ...]: the mean absolute difference of neighbours along two axes."""
    return sum((x.diff(dim=axis).abs().flatten(1).mean(1) for axis in axes), x.new_zeros(len(x)))
