"""Linear layers with noise on their weights, whose size is learned (Fortunato et al. 2018)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Noise = Literal["factorised", "independent"]
SIGMA_INDEPENDENT = 0.017
"""Initial sigma of independent noise (Fortunato et al. 2018, section 3.2)."""


class Linear(nn.Linear):
    """A linear layer without noise, called as a noisy one is."""

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        return functional.linear(features, self.weight, self.bias)


class NoisyLinear(nn.Module):
    """y = (mu_w + sigma_w * eps_w) x + mu_b + sigma_b * eps_b (Fortunato et al. 2018, eq. 9).

    The noise is not the layer's: it is given with every call, as the columns from `offset` on of a tensor
    [1 or B, noise_size] that holds the noise of a whole network, so that online network, target network and actors draw
    theirs independently. One row is shared by the batch. Without noise the layer is its mean: linear in mu.
    """

    def __init__(self, in_features: int, out_features: int, *, kind: Noise, sigma: float, offset: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.kind, self.sigma, self.offset = (
            in_features,
            out_features,
            kind,
            sigma,
            offset,
        )
        self.noise_size = (in_features if kind == "factorised" else in_features * out_features) + out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self.weight_sigma = nn.Parameter(torch.empty(out_features, in_features))
        self.bias_sigma = nn.Parameter(torch.empty(out_features))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw mu and set sigma as section 3.2 of the paper has it, for either kind of noise."""
        factorised = self.kind == "factorised"
        bound = 1.0 / math.sqrt(self.in_features) if factorised else math.sqrt(3.0 / self.in_features)
        sigma = self.sigma / math.sqrt(self.in_features) if factorised else SIGMA_INDEPENDENT
        for mean, scale in ((self.weight, self.weight_sigma), (self.bias, self.bias_sigma)):
            mean.uniform_(-bound, bound, generator=generator)
            scale.fill_(sigma)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        mean = functional.linear(features, self.weight, self.bias)  # [B, out]
        if noise is None:
            return mean
        mine = noise[:, self.offset : self.offset + self.noise_size]
        if self.kind == "factorised":
            # eps_w is the outer product of two vectors, so it need not be formed: they scale inputs and outputs.
            inputs, outputs = mine[:, : self.in_features], mine[:, self.in_features :]
            return mean + outputs * functional.linear(features * inputs, self.weight_sigma, self.bias_sigma)
        outputs = mine[:, self.in_features * self.out_features :]
        weights = mine[:, : -self.out_features].view(-1, self.out_features, self.in_features)
        if len(weights) == 1:
            noisy = functional.linear(features, self.weight_sigma * weights[0])
        else:
            noisy = torch.einsum("bi,boi,oi->bo", features, weights, self.weight_sigma)
        return mean + noisy + self.bias_sigma * outputs


class NoisyLayers:
    """Makes the noisy layers of one head (its `linear=`), and counts the noise that they take together."""

    def __init__(self, kind: Noise, sigma: float) -> None:
        self.kind, self.sigma = kind, sigma
        self.noise_size = 0

    def __call__(self, in_features: int, out_features: int) -> NoisyLinear:
        layer = NoisyLinear(in_features, out_features, kind=self.kind, sigma=self.sigma, offset=self.noise_size)
        self.noise_size += layer.noise_size
        return layer


def draw_noise(noise: Tensor, kind: Noise, generator: torch.Generator) -> Tensor:
    """Fill a tensor with the noise of layers of this kind: normal, and x to sgn(x) sqrt|x| for factorised (eq. 10)."""
    noise.normal_(generator=generator)
    return noise.copy_(noise.sign() * noise.abs().sqrt_()) if kind == "factorised" else noise
