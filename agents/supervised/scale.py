"""Numbers in units of their deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """Numbers [B, K] in units of their deviation from their mean in a sample [N, K]; `back` undoes it."""

    mean: Tensor
    std: Tensor

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", sample.mean(0))
        deviation = sample.std(0, correction=0)
        self.register_buffer("std", torch.where(deviation > 1e-8, deviation, torch.ones_like(deviation)))

    def forward(self, numbers: Tensor) -> Tensor:
        return (numbers - self.mean) / self.std

    def back(self, scaled: Tensor) -> Tensor:
        """Numbers in their own units."""
        return scaled * self.std + self.mean
