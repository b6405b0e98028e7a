"""Critics of actions on an encoder, and a policy on the encoder's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gymnast.networks.heads.members import Members
from gymnast.networks.layers.inputs import Obs


class CriticNetwork(nn.Module):
    """M critics on an encoder's features: of an action that they read (A = 1), or of each of A choices."""

    def __init__(self, encoder: nn.Module, critics: Members, *, choices: int, outputs: int) -> None:
        super().__init__()
        self.encoder, self.critics, self.choices, self.outputs = encoder, critics, choices, outputs

    def features(self, obs: Obs) -> Tensor:
        """Observations [B, ...] to features [B, F]."""
        features: Tensor = self.encoder(obs)
        return features

    def forward(self, features: Tensor, action: Tensor | None, *, frozen: bool = False, first: bool = False) -> Tensor:
        """Features [B, F], and actions [B, D] or None, to [M, B, A, K].

        `frozen` stops gradients to the weights; `first` asks the first critic only.
        """
        seen = features if action is None else torch.cat([features, action], 1)
        output: Tensor = self.critics(seen, frozen=frozen, first=first)
        return output.view(output.shape[0], output.shape[1], self.choices, self.outputs)


class PolicyNetwork(nn.Module):
    """Features [B, F] to a policy's outputs [B, P]."""

    def __init__(self, layers: Members) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.layers(features)
        return output.squeeze(0)
