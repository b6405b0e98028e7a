"""Adversarial inputs: small changes within a bound on each number that raise a loss most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.networks.insight.attribution import Score, gradient


@dataclass(frozen=True)
class Ball:
    """Where an input may go: each number within `radius` of where it was, and within [low, high]; all [...]."""

    radius: Tensor
    low: Tensor
    high: Tensor
    whole: Tensor | bool = False
    """Where only whole numbers exist, as of pixels, bool [...] or for all: changes are then rounded towards 0."""

    def nearest(self, x: Tensor, origin: Tensor) -> Tensor:
        """The nearest place in the ball around the origin, [B, ...]."""
        near = torch.minimum(torch.maximum(x, origin - self.radius), origin + self.radius)
        return torch.minimum(torch.maximum(near, self.low), self.high)

    def settled(self, x: Tensor, origin: Tensor) -> Tensor:
        """The input as an environment could give it."""
        near = self.nearest(x, origin)
        return torch.where(torch.as_tensor(self.whole, device=x.device), origin + (near - origin).trunc(), near)


def fgsm(loss: Score, x: Tensor, ball: Ball) -> Tensor:
    """One step of full length along the sign of the gradient (Goodfellow et al. 2015, section 4); [B, ...]."""
    return ball.settled(x + ball.radius * gradient(loss, x).sign(), x)


def pgd(loss: Score, x: Tensor, ball: Ball, *, steps: int, generator: torch.Generator) -> Tensor:
    """Steps along the sign of the gradient from a random place in the ball (Madry et al. 2018, section 2.1); [B, ...].

    Each step is 2.5 / steps of the radius, and is projected onto the ball. Of the places on the way and the origin,
    the one with the largest loss is kept.
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    noise = 2.0 * torch.rand(x.shape, generator=generator, device=x.device) - 1.0
    place, best = ball.nearest(x + ball.radius * noise, x), x
    with torch.no_grad():
        highest = loss(x)
    for step in range(steps + 1):
        tried = ball.settled(place, x)
        with torch.no_grad():
            reached = loss(tried)
        better = (reached > highest).view(-1, *[1] * (x.dim() - 1))
        best, highest = torch.where(better, tried, best), torch.maximum(reached, highest)
        if step < steps:
            place = ball.nearest(place + 2.5 / steps * ball.radius * gradient(loss, place).sign(), x)
    return best


def random_signs(x: Tensor, ball: Ball, *, generator: torch.Generator) -> Tensor:
    """A change as large as that of `fgsm` in a random direction, for comparison; [B, ...]."""
    sign = 2.0 * torch.randint(2, x.shape, generator=generator, device=x.device) - 1.0
    return ball.settled(x + ball.radius * sign, x)
