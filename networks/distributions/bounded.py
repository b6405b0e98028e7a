"""Normal numbers whose mean stays in the bounds of a Box, with a learned deviation for each observation."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.distributions.bounds import Bounds
from gymnast.networks.distributions.gaussians import HALF_LOG_2_PI

STD_MIN, STD_MAX = 0.1, 1.0
"""Range of the standard deviation, of a Box from -1 to 1 (Hafner et al. 2023)."""


class BoundedNormal:
    """Independent normal numbers of a finite Box, scaled to [-1, 1] and flattened to D: means, then deviations.

    The mean is tanh of the first D outputs, the deviation between 0.1 and 1 by a sigmoid of the others. Raw actions are
    not clipped, and their density is that of the unclipped number; the environment's are clipped to the bounds.

    Raises:
        ValueError: bounds that are not finite.
    """

    dtype = torch.float32
    scales = 0

    def __init__(self, space: spaces.Box, *, device: torch.device) -> None:
        self.bounds = Bounds(space, device=device)
        self.numbers = self.bounds.numbers
        self.outputs = 2 * self.numbers
        self.shape: tuple[int, ...] = (self.numbers,)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return self.act(output, generator)[0]

    def mode(self, output: Tensor) -> Tensor:
        return self._parameters(output)[0]

    def log_prob(self, output: Tensor, raw: Tensor) -> Tensor:
        return self.log_prob_entropy(output, raw)[0]

    def entropy(self, output: Tensor) -> Tensor:
        return self._parameters(output)[1].log().sum(-1) + self.numbers * (0.5 + HALF_LOG_2_PI)

    def act(self, output: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mean, std = self._parameters(output)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        raw = torch.addcmul(mean, std, noise)
        return raw, self._density(noise, std)

    def log_prob_entropy(self, output: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self._parameters(output)
        return self._density((raw - mean) / std, std), std.log().sum(-1) + self.numbers * (0.5 + HALF_LOG_2_PI)

    def kl(self, output: Tensor, other: Tensor) -> Tensor:
        (mean, std), (other_mean, other_std) = self._parameters(output), self._parameters(other)
        apart = ((mean - other_mean) / other_std).square()
        return (0.5 * ((std / other_std).square() + apart - 1.0) + (other_std / std).log()).sum(-1)

    def masked(self, output: Tensor, mask: Tensor | None) -> Tensor:
        return output

    def to_env(self, raw: Tensor) -> Tensor:
        return self.bounds.to_env(raw)

    def _parameters(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, [..., D]."""
        mean, std = output.chunk(2, -1)
        return mean.tanh(), STD_MIN + (STD_MAX - STD_MIN) * (std + 2.0).sigmoid()

    def _density(self, distance: Tensor, std: Tensor) -> Tensor:
        """Log-density of numbers at a distance to the mean that is counted in deviations."""
        return -(0.5 * distance.square() + std.log()).sum(-1) - self.numbers * HALF_LOG_2_PI
