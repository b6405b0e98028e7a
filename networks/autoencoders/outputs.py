"""What a decoder's output means: means, or the distribution of what is restored."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LOSSES = ("mse", "bernoulli")
"""Losses of decoders without a distribution over numbers."""
DISTRIBUTIONS = ("gaussian", "bernoulli")
LOWEST = -6.0
"""Bound of the learned logarithm of the deviation, below which a decoder could count noise in the data's last bits."""
SMALL = 1e-3
"""Distance from 0 and 1 of a probability at which a decoder starts, at least."""


class Output(nn.Module):
    """The meaning of outputs [B, ...]: `mse` and `gaussian` are means, `bernoulli` logits of probabilities.

    `spread` is the deviation of the data's numbers, one for all or one for each. The errors of `mse` are counted in its
    square (as by van den Oord et al. 2017), so that the weights of other losses suit any data. The deviation of
    `gaussian` is `std`, the same for all numbers, or if None `spread` times a learned factor (Rybkin et al. 2021).
    """

    log_std: Tensor
    variance: Tensor
    log_spread: Tensor

    def __init__(self, kind: str, *, spread: Tensor, std: float | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.learned = kind == "gaussian" and std is None
        if kind == "mse":
            self.register_buffer("variance", spread.square())
        elif self.learned:
            lowest = spread.log().min()
            self.register_buffer("log_spread", spread.log() - lowest)
            self.log_std = nn.Parameter(lowest.clone())
            """Logarithm of the smallest deviation."""
        elif std is not None:
            self.register_buffer("log_std", torch.tensor(math.log(std)))

    @property
    def log_deviation(self) -> Tensor:
        """Logarithms of the deviations of `gaussian`, of one number or of all."""
        return self.log_std.clamp(min=LOWEST) + self.log_spread if self.learned else self.log_std

    def mean(self, output: Tensor) -> Tensor:
        """What is restored."""
        return output.sigmoid() if self.kind == "bernoulli" else output

    def raw(self, mean: Tensor) -> Tensor:
        """The output that means this; of probabilities near 0 and 1 a little less."""
        return mean.clamp(SMALL, 1 - SMALL).logit() if self.kind == "bernoulli" else mean

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        """Of each number: the squared error in units of the variance, or the negative log-likelihood in nats."""
        if self.kind == "mse":
            return (output - target).square() / self.variance
        if self.kind == "bernoulli":
            return functional.binary_cross_entropy_with_logits(output, target, reduction="none")
        log_std = self.log_deviation
        return 0.5 * (((output - target) * (-log_std).exp()).square() + math.log(2 * math.pi)) + log_std

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Of each example, [B]: the mean error, or the negative log-likelihood of all its numbers."""
        each = self.each(output, target).flatten(1)
        return each.mean(1) if self.kind == "mse" else each.sum(1)
