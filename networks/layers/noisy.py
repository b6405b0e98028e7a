"""Linear layers with noise on their weights, whose size is learned (Fortunato et al. 2018)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Noise = Literal["factorised", "independent"]
FORM_FROM = 16
"""Rows of a batch from which forming the noisy weights costs less than a second matrix product, on the CPU."""
SIGMA_INDEPENDENT = 0.017
"""Initial sigma of independent noise (Fortunato et al. 2018, section 3.2)."""


class Linear(nn.Linear):
    """A linear layer without noise, called as a noisy one is."""

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        return functional.linear(features, self.weight, self.bias)


class NoisyLinear(nn.Module):
    """y = (mu_w + sigma_w * eps_w) x + mu_b + sigma_b * eps_b (Fortunato et al. 2018, eq. 9).

    The noise is not the layer's: it is given with every call, as the columns from `offset` on of a tensor [R, …] that
    holds the noise of a whole network, so that online network, target network and actors draw theirs independently.
    Each of its rows is shared by B / R successive rows of features. Without noise the layer is its mean: linear in mu.
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
        """Draw mu and set sigma as in section 3.2 of the paper, for either kind of noise."""
        factorised = self.kind == "factorised"
        bound = 1.0 / math.sqrt(self.in_features) if factorised else math.sqrt(3.0 / self.in_features)
        sigma = self.sigma / math.sqrt(self.in_features) if factorised else SIGMA_INDEPENDENT
        for mean, scale in ((self.weight, self.weight_sigma), (self.bias, self.bias_sigma)):
            mean.uniform_(-bound, bound, generator=generator)
            scale.fill_(sigma)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        if noise is None:
            return functional.linear(features, self.weight, self.bias)  # [B, out]
        mine = noise[:, self.offset : self.offset + self.noise_size].unsqueeze(1)
        inputs, outputs = mine[..., : -self.out_features], mine[..., -self.out_features :]
        if self.kind == "factorised" and len(noise) == 1 and len(features) >= FORM_FROM and not features.is_cuda:
            spread = outputs.view(-1, 1) * inputs.view(1, -1)  # eps_w [out, in]
            kept = None if torch.is_grad_enabled() else spread
            weight = torch.addcmul(self.weight, self.weight_sigma, spread, out=kept)
            bias = torch.addcmul(self.bias, self.bias_sigma, outputs.view(-1))
            return functional.linear(features, weight, bias)
        grouped = features.reshape(len(noise), -1, self.in_features)  # [R, B / R, in]
        if self.kind == "factorised":
            # eps_w is the outer product of two vectors, so it need not be formed: they scale inputs and outputs.
            mean = functional.linear(grouped, self.weight, self.bias)
            spread = functional.linear(grouped * inputs, self.weight_sigma, self.bias_sigma)
            return torch.addcmul(mean, spread, outputs).flatten(0, 1)
        weight = torch.addcmul(self.weight, self.weight_sigma, inputs.view(-1, self.out_features, self.in_features))
        bias = torch.addcmul(self.bias, self.bias_sigma, outputs)  # [R, 1, out]
        return torch.baddbmm(bias, grouped, weight.transpose(1, 2)).flatten(0, 1)


class NoisyLayers:
    """Makes the noisy layers of one head (its `linear=`), and counts the noise that they take together."""

    def __init__(self, kind: Noise, sigma: float) -> None:
        self.kind, self.sigma = kind, sigma
        self.noise_size = 0

    def __call__(self, in_features: int, out_features: int) -> NoisyLinear:
        layer = NoisyLinear(in_features, out_features, kind=self.kind, sigma=self.sigma, offset=self.noise_size)
        self.noise_size += layer.noise_size
        return layer


def draw_noise(noise: Tensor, kind: Noise, generator: torch.Generator, *, weights: int) -> None:
    """Fill a tensor [..., C] with the noise of a network.

    The first `weights` columns are of noisy layers: normal, and for factorised noise x becomes f(x) = sgn(x) sqrt|x|
    (Fortunato et al. 2018, eq. 10). The others are the fractions of implicit quantiles: uniform between 0 and 1.
    """
    normal, fractions = noise[..., :weights], noise[..., weights:]
    normal.normal_(generator=generator)
    shape_noise(normal, kind)
    fractions.uniform_(generator=generator)


def shape_noise(normal: Tensor, kind: Noise) -> None:
    """Turn standard normal numbers into the noise of layers, in place."""
    if kind == "factorised":
        normal.copy_(torch.copysign(normal.abs().sqrt_(), normal))
