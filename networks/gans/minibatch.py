"""Minibatch discrimination."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """How close each example is to the others of its batch, in learned directions (Salimans et al. 2016, section 3.2).

    Features [B, F] to [B, kernels]: the sum over the other examples of exp(-|M_i - M_j|_1), where M is a linear map of
    the features to `kernels` vectors of `size` numbers. A generator of few different examples gives itself away.
    """

    def __init__(self, features: int, kernels: int, size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.kernels = kernels
        drawn = torch.randn(features, kernels * size, generator=generator)
        self.weight = nn.Parameter(drawn * features**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        maps = (features @ self.weight).view(len(features), self.kernels, -1)  # [B, K, S]
        distance = (maps.unsqueeze(0) - maps.unsqueeze(1)).abs().sum(-1)  # [B, B, K]
        return (-distance).exp().sum(1) - 1  # without itself
