"""The head that predicts an agent's own features several steps ahead (SPR, Schwarzer et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

UNITS = 512
"""Numbers of a projected latent, and units of a transition between latents without places."""


def rescaled(latent: Tensor) -> Tensor:
    """Each row of latents [B, F] from its smallest to its largest number, as 0 to 1."""
    low, high = latent.aminmax(dim=1, keepdim=True)
    return (latent - low) / (high - low + 1e-5)


class Projection(nn.Module):
    """Features [B, F] to projections [B, UNITS], which predictions are compared with."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, UNITS)

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.linear(rescaled(features))
        return projected


class Places(nn.Module):
    """The next latent of maps [B, C, h, w] flattened to [B, F], and of actions as C more planes: two convolutions."""

    def __init__(self, shape: tuple[int, int, int], actions: int) -> None:
        super().__init__()
        self.shape = shape
        channels = shape[0]
        self.first = nn.Conv2d(channels + actions, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        planes = latent.view(-1, *self.shape)
        shown = action[:, :, None, None].expand(-1, -1, *self.shape[1:])
        hidden = torch.relu(self.first(torch.cat([planes, shown], 1)))
        return torch.relu(self.second(hidden)).flatten(1)


class Vector(nn.Module):
    """The next latent of vectors [B, F] and actions [B, A]: a hidden layer."""

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features + actions, UNITS), nn.Linear(UNITS, features)

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        output: Tensor = self.second(torch.relu(self.first(torch.cat([latent, action], 1))))
        return output


class SelfPredictionHead(nn.Module):
    """Features [B, F] and the next K actions, int64 [B, K], to predicted projections of what follows, [B, K, UNITS].

    `shape` is that of a feature map [C, h, w] which the features are; without one they are a vector. The projection is
    the head's own, where the paper has the first layer of the Q head.
    """

    def __init__(self, features: int, actions: int, shape: tuple[int, int, int] | None) -> None:
        super().__init__()
        self.actions = actions
        self.transition = Vector(features, actions) if shape is None else Places(shape, actions)
        self.projection, self.predictor = Projection(features), nn.Linear(UNITS, UNITS)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        latent, predictions = rescaled(features), []
        for chosen in functional.one_hot(action, self.actions).to(features.dtype).unbind(1):
            latent = self.transition(latent, chosen)
            predictions.append(self.predictor(self.projection(latent)))
            latent = rescaled(latent)
        return torch.stack(predictions, 1)
