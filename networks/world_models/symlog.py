"""Numbers of any scale: symmetric logarithms, and distributions over fixed bins (Hafner et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BINS = 255
"""Bins of a two-hot number; odd, so that one of them is 0."""
LARGEST = 20.0
"""Symmetric logarithm of the outermost bins."""


def symlog(x: Tensor) -> Tensor:
    """sign(x) * log(1 + |x|): the identity near 0, a logarithm far from it (equation 9)."""
    return torch.where(x == 0, x, x.sign() * x.abs().log1p())  # at 0 the slope is 1, and autograd's of |x| is 0


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """Real numbers as probabilities of bins that are spaced exponentially (equation 10).

    A number between two bins has the weight of each in proportion to its nearness: their mean is the number itself.
    """

    bins: Tensor

    def __init__(self, bins: int = BINS) -> None:
        super().__init__()
        half = symexp(torch.linspace(-LARGEST, 0.0, bins // 2 + 1, dtype=torch.float64))
        self.register_buffer("bins", torch.cat([half, -half[:-1].flip(0)]).float(), persistent=False)  # [K]

    def mean(self, log_probs: Tensor) -> Tensor:
        """The expected number [...] of log-probabilities [..., K].

        Bins of opposite sign are counted against each other first: equal probabilities then give exactly 0, in spite of
        bins of 4.8e8.
        """
        probs, half = log_probs.exp(), self.bins.numel() // 2
        return (probs[..., half + 1 :] - probs[..., :half].flip(-1)) @ self.bins[half + 1 :]

    def encode(self, value: Tensor) -> Tensor:
        """The two-hot weights [..., K] of numbers [...]; those beyond the outermost bins have all of theirs there."""
        below, weight = self._between(value)
        hot = torch.zeros((*value.shape, self.bins.numel()), device=value.device)
        hot.scatter_(-1, below.unsqueeze(-1), (1.0 - weight).unsqueeze(-1))
        return hot.scatter_add_(-1, (below + 1).unsqueeze(-1), weight.unsqueeze(-1))

    def loss(self, log_probs: Tensor, value: Tensor) -> Tensor:
        """Cross-entropy [...] of log-probabilities [..., K] to the two-hot weights of numbers [...].

        Only two terms of it are not 0.
        """
        below, weight = self._between(value)
        pair = log_probs.gather(-1, torch.stack([below, below + 1], -1))  # [..., 2]
        return -torch.lerp(pair[..., 0], pair[..., 1], weight)

    def _between(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Index [...] of the bin below each number, and the weight [...] of the one above."""
        last = self.bins.numel() - 2
        below = (torch.searchsorted(self.bins, value.contiguous(), right=True) - 1).clamp(0, last)
        low, high = self.bins[below], self.bins[below + 1]
        return below, ((value - low) / (high - low)).clamp(0.0, 1.0)
