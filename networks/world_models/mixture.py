"""Mixture densities: distributions of numbers as mixtures of normal ones (Bishop 1994)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

NARROWEST, WIDEST = -5.0, 3.0
"""Bounds of the logarithm of a deviation: without the lower one a density could grow without end."""


class Mixture(NamedTuple):
    """Of each of Z numbers, independent of the others, a mixture of K normal distributions."""

    logits: Tensor
    """[..., Z, K], logarithms of the weights up to a constant."""
    mean: Tensor
    """[..., Z, K]."""
    log_std: Tensor
    """[..., Z, K]."""

    @staticmethod
    def of(parameters: Tensor, centre: Tensor) -> Mixture:
        """From the outputs [..., 3 Z K] of a layer; the means are counted from `centre`, [..., Z]."""
        logits, mean, log_std = parameters.view(*centre.shape[:-1], 3, centre.shape[-1], -1).unbind(-3)
        return Mixture(logits, centre.unsqueeze(-1) + mean, log_std.clamp(NARROWEST, WIDEST))

    def log_likelihood(self, value: Tensor) -> Tensor:
        """Log-density of numbers [..., Z], summed over them: [...]."""
        scaled = (value.unsqueeze(-1) - self.mean) * (-self.log_std).exp()
        each = -0.5 * scaled.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        return (self.logits.log_softmax(-1) + each).logsumexp(-1).sum(-1)

    def tempered(self, temperature: float) -> Mixture:
        """The mixture at a temperature > 0 (Ha & Schmidhuber 2018, appendix A.3).

        The logits are divided by it, and deviations multiplied by its square root.
        """
        return Mixture(self.logits / temperature, self.mean, self.log_std + 0.5 * math.log(temperature))

    def sample(self, uniform: Tensor, normal: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Numbers [..., Z]: `uniform` [..., Z] chooses the component, `normal` [..., Z] is the noise around its mean.

        At temperature 0 the mean of the component of the largest weight, whatever the noise.
        """
        if temperature == 0.0:
            return self.mean.gather(-1, self.logits.argmax(-1, keepdim=True)).squeeze(-1)
        mixture = self.tempered(temperature)
        passed = mixture.logits.softmax(-1).cumsum(-1)[..., :-1] <= uniform.unsqueeze(-1)
        chosen = passed.sum(-1, keepdim=True)
        mean, log_std = (part.gather(-1, chosen).squeeze(-1) for part in mixture[1:])
        return torch.addcmul(mean, log_std.exp(), normal)
