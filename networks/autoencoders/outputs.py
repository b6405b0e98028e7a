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

    `spread` is the deviation of the data's numbers from their means. The errors of `mse` are counted in its square (as
    by van den Oord et al. 2017), so that the weights of other losses suit any data. The deviation of `gaussian` is
    `std`, the same for all numbers, or if None learned from its logarithm (Rybkin et al. 2021), from `spread` on.
    """

    log_std: Tensor
    variance: Tensor

    def __init__(self, kind: str, *, spread: float, std: float | None = None) -> None:
        super().__init__()
        self.kind = kind
        if kind == "mse":
            self.register_buffer("variance", torch.tensor(spread**2))
        if kind == "gaussian":
            start = torch.tensor(math.log(spread if std is None else std))
            self.learned = std is None
            if self.learned:
                self.log_std = nn.Parameter(start)
            else:
                self.register_buffer("log_std", start)

    @torch.no_grad()
    def count_in(self, spread: float) -> None:
        """Count the errors of `mse` in the square of another deviation."""
        self.variance.fill_(spread**2)

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
        log_std = self.log_std.clamp(min=LOWEST) if self.learned else self.log_std
        return 0.5 * (((output - target) * (-log_std).exp()).square() + math.log(2 * math.pi)) + log_std

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Of each example, [B]: the mean error, or the negative log-likelihood of all its numbers."""
        each = self.each(output, target).flatten(1)
        return each.mean(1) if self.kind == "mse" else each.sum(1)
