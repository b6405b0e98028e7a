"""What a decoder's output means: means, or the distribution of what is restored."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LOSSES = ("mse", "bernoulli")
"""Losses of decoders without a distribution over numbers."""
DISTRIBUTIONS = ("gaussian", "bernoulli")
LOWEST = -4.0
"""Bound of the learned logarithm of the deviation, below which a decoder could count noise in the data's last bits."""


class Output(nn.Module):
    """The meaning of outputs [B, ...]: `mse` and `gaussian` are means, `bernoulli` logits of probabilities.

    The deviation of `gaussian` is `std`, the same for all numbers, or learned from its logarithm if None (Rybkin et al.
    2021).
    """

    log_std: Tensor

    def __init__(self, kind: str, std: float | None = None) -> None:
        super().__init__()
        self.kind = kind
        if kind == "gaussian":
            start = torch.tensor(0.0 if std is None else math.log(std))
            self.learned = std is None
            if self.learned:
                self.log_std = nn.Parameter(start)
            else:
                self.register_buffer("log_std", start)

    def mean(self, output: Tensor) -> Tensor:
        """What is restored."""
        return output.sigmoid() if self.kind == "bernoulli" else output

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        """Of each number: the squared error, or the negative log-likelihood in nats."""
        if self.kind == "mse":
            return (output - target).square()
        if self.kind == "bernoulli":
            return functional.binary_cross_entropy_with_logits(output, target, reduction="none")
        log_std = self.log_std.clamp(min=LOWEST) if self.learned else self.log_std
        return 0.5 * (((output - target) * (-log_std).exp()).square() + math.log(2 * math.pi)) + log_std

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Of each example, [B]: the mean squared error, or the negative log-likelihood of all its numbers."""
        each = self.each(output, target).flatten(1)
        return each.mean(1) if self.kind == "mse" else each.sum(1)
