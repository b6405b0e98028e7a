"""Heads of auxiliary losses, above the features of an agent's backbone."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.networks.layers.inputs import Obs, Vector

HIDDEN = 256
"""Units of the hidden layer of the heads that predict."""
CODE = 128
"""Numbers of a projected observation (CURL for Rainbow, Laskin et al. 2020)."""


class Projection(nn.Module):
    """Features [B, F] to normalised codes [B, CODE], which a contrastive loss compares."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(features, CODE), nn.LayerNorm(CODE)

    def forward(self, features: Tensor) -> Tensor:
        codes: Tensor = self.norm(self.linear(features))
        return codes


class ContrastiveHead(nn.Module):
    """The similarity of each query with each key by a bilinear product (CURL, Laskin et al. 2020, section 4.5).

    It is divided by sqrt(CODE), so that at first all keys are about as similar.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.projection = Projection(features)
        self.product = nn.Linear(CODE, CODE, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Features of the queries [B, F] and codes of the keys [B, CODE] to similarities [B, B]."""
        similarity: Tensor = self.projection(query) @ self.product(key).t() / math.sqrt(CODE)
        return similarity


class InverseDynamicsHead(nn.Module):
    """Features of an observation and of its successor, [B, F] each, to `outputs` numbers about the action."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(2 * features, HIDDEN), nn.Linear(HIDDEN, outputs)

    def forward(self, features: Tensor, following: Tensor) -> Tensor:
        output: Tensor = self.output(torch.relu(self.hidden(torch.cat([features, following], 1))))
        return output


class RewardHead(nn.Module):
    """Features [B, F] and actions of a space, [B, ...], to the expected reward [B]."""

    def __init__(self, features: int, action_space: gym.Space[Any]) -> None:
        super().__init__()
        self.action = Vector(action_space)
        self.hidden, self.output = nn.Linear(features + self.action.out_features, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, features: Tensor, action: Obs) -> Tensor:
        hidden = torch.relu(self.hidden(torch.cat([features, self.action(action)], 1)))
        output: Tensor = self.output(hidden).squeeze(1)
        return output
