"""The last layer of tuned double DQN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SharedBias(nn.Linear):
    """A last layer whose K biases are the same for every action: features [B, F] to [B, A * K].

    That of tuned double DQN (van Hasselt et al. 2016, appendix).
    """

    def __init__(self, in_features: int, actions: int, outputs: int) -> None:
        super().__init__(in_features, actions * outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.actions = actions

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        return functional.linear(features, self.weight, self.bias.repeat(self.actions))
