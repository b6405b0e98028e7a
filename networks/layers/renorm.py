"""Batch renormalisation: batch normalisation whose training output agrees with that of its running statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPS = 1e-3
LARGEST_RATIO, LARGEST_SHIFT = 3.0, 5.0
"""Bounds of r and d."""


class BatchRenorm(nn.Module):
    """Features [M, B, F] of M networks normalised over their batches (Ioffe 2017, algorithm 1).

    In training mode each batch is normalised by its own statistics, and then scaled by r and shifted by d, which carry
    no gradient, to what the running statistics would give. In the first `warm_up` batches it is plain batch
    normalisation, while the running statistics are too young (Bhatt et al. 2024, CrossQ, appendix).
    """

    mean: Tensor
    var: Tensor
    batches: Tensor

    def __init__(self, members: int, features: int, *, momentum: float = 0.01, warm_up: int = 100_000) -> None:
        super().__init__()
        self.momentum, self.warm_up = momentum, warm_up
        self.weight = nn.Parameter(torch.ones(members, features))
        self.bias = nn.Parameter(torch.zeros(members, features))
        self.register_buffer("mean", torch.zeros(members, features))
        self.register_buffer("var", torch.ones(members, features))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            scale = self.weight * (self.var + EPS).rsqrt()  # [M, F]
            return torch.addcmul((self.bias - self.mean * scale).unsqueeze(1), features, scale.unsqueeze(1))
        mean = features.mean(1)  # [M, F]
        var = features.var(1, correction=0)
        std = (var + EPS).sqrt()
        with torch.no_grad():
            running = (self.var + EPS).sqrt()
            young = self.batches < self.warm_up
            ratio = (std / running).clamp(1.0 / LARGEST_RATIO, LARGEST_RATIO)
            shift = ((mean - self.mean) / running).clamp(-LARGEST_SHIFT, LARGEST_SHIFT)
            ratio, shift = torch.where(young, 1.0, ratio), torch.where(young, 0.0, shift)
            self.mean.lerp_(mean, self.momentum)
            self.var.lerp_(var, self.momentum)
            self.batches += 1
        scale = self.weight * ratio / std
        return torch.addcmul(
            (self.bias + self.weight * shift - mean * scale).unsqueeze(1), features, scale.unsqueeze(1)
        )
