"""The parts of a variational bound (Kingma & Welling 2014)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

LARGEST = 10.0
"""Bound of the logarithm of a variance, on both sides."""
NARROW = -6.0
"""Logarithm of the variance at first: features of observations that hardly differ must not drown in noise."""


class Normal(NamedTuple):
    """Independent normal distributions over latents."""

    mean: Tensor
    """[B, L]."""
    log_variance: Tensor
    """[B, L]."""

    @staticmethod
    def of(parameters: Tensor) -> Normal:
        """From the outputs [B, 2 L] of a layer."""
        mean, log_variance = parameters.chunk(2, 1)
        return Normal(mean, log_variance.clamp(-LARGEST, LARGEST))

    def sample(self, generator: torch.Generator) -> Tensor:
        """Latents [B, L], a function of mean and variance (the reparameterisation trick)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def log_density(self, latent: Tensor) -> Tensor:
        """Of latents [B, L]: [B]."""
        scaled = (latent - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (scaled + self.log_variance + math.log(2 * math.pi)).sum(1)

    def rate(self) -> Tensor:
        """Divergence from the standard normal in nats, of each number of the latent: [B, L]."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance)


@torch.no_grad()
def narrow(layer: nn.Linear) -> nn.Linear:
    """A layer to the parameters of `Normal.of`, whose variances are the same small ones for all inputs at first."""
    _, weight = layer.weight.chunk(2)
    _, bias = layer.bias.chunk(2)
    weight.zero_()
    bias.fill_(NARROW)
    return layer


def freed(rate: Tensor, bits: float) -> Tensor:
    """The rate [B, L] of a batch in nats, each number's mean at least `bits` nats (Kingma et al. 2016, eq. 15)."""
    return rate.mean(0).clamp(min=bits).sum()


def importance_weighted(
    posterior: Normal, log_likelihood: Callable[[Tensor], Tensor], samples: int, generator: torch.Generator
) -> Tensor:
    """Estimates of log p(x) [B] whose expectation is a lower bound, tighter with more samples (Burda et al. 2016).

    `log_likelihood` maps latents [B, L] to log p(x | z) [B]. The mean over one sample each is the variational bound.
    """
    prior = Normal(torch.zeros_like(posterior.mean), torch.zeros_like(posterior.mean))
    found = []
    for _ in range(samples):
        latent = posterior.sample(generator)
        found.append(log_likelihood(latent) + prior.log_density(latent) - posterior.log_density(latent))
    return torch.stack(found).logsumexp(0) - math.log(samples)


class Progress(nn.Module):
    """Counts updates; its value is 0 in the first half of `length`, grows to 1 in the second, and stays 1.

    It has to be 0 for a while: Adam's steps depend on the direction of a gradient only, so that even a small rate would
    decide them before the decoder has learned to use the latent.
    """

    updates: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def step(self) -> Tensor | float:
        """The value at the next update."""
        if not self.length:
            return 1.0
        value = (2 * self.updates / self.length - 1).clamp(0.0, 1.0)
        self.updates += 1
        return value
