"""Backbones: from a batch of observations to features; each states `out_features`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.inputs import Obs, Vector

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


class MLP(nn.Module):
    """Fully connected layers, an activation after each; [B, ...] to [B, hidden_sizes[-1]]."""

    def __init__(self, observation_space: gym.Space[Any], hidden_sizes: Sequence[int], *, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        if not hidden_sizes or min(hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be at least one number >= 1, got {tuple(hidden_sizes)}")
        self.vector = Vector(observation_space)
        widths = [self.vector.out_features, *hidden_sizes]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.activation = activation
        self.out_features = widths[-1]

    def forward(self, obs: Obs) -> Tensor:
        activate = ACTIVATIONS[self.activation]
        features: Tensor = self.vector(obs)
        for layer in self.layers:
            features = activate(layer(features))
        return features


class NatureCNN(nn.Module):
    """Three convolutions and 512 rectified units (Mnih et al. 2015, Methods); uint8 [B, C, H, W] to [B, 512].

    Pixels are scaled by 1/255 here, so that they stay uint8 everywhere else.
    """

    def __init__(self, observation_space: gym.Space[Any]) -> None:
        super().__init__()
        space = observation_space
        if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
            raise ValueError(f"backbone nature-cnn needs uint8 images [C, H, W], got {space}; mlp fits any observation")
        channels, height, width = space.shape
        if min(height, width) < 36:
            raise ValueError(f"backbone nature-cnn needs images of at least 36x36, got {height}x{width}; mlp fits")
        self.conv1 = nn.Conv2d(channels, 32, 8, stride=4)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.dense = nn.Linear(64 * _after_convolutions(height) * _after_convolutions(width), 512)
        self.out_features = 512

    def forward(self, obs: Obs) -> Tensor:
        pixels = obs * (1 / 255)  # [B, C, H, W]
        features = torch.relu(self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(pixels))))))
        return torch.relu(self.dense(features.flatten(1)))


def _after_convolutions(size: int) -> int:
    return (((size - 8) // 4 + 1) - 4) // 2 + 1 - 2
