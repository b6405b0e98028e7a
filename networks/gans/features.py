"""Features of images from a convolutional network with fixed random weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
CHANNELS = (32, 64, 64)
"""Of its layers, each of which halves the image."""
CELLS = 2
"""Rows and columns into which the last map is averaged, so that features tell where something is."""


class RandomFeatures(nn.Module):
    """Images [B, C, H, W] to [B, 256]: three convolutions whose weights are drawn from a fixed seed.

    Distances in random features rank generators as those in trained ones do (Naeem et al. 2020), but numbers of
    different image shapes cannot be compared.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(SEED)
        self.layers = nn.ModuleList()
        for after in CHANNELS:
            layer = nn.Conv2d(channels, after, 3, stride=2, padding=1)
            with torch.no_grad():
                layer.weight.normal_(0.0, math.sqrt(2 / (9 * channels)), generator=generator)
                layer.bias.zero_()  # type: ignore[union-attr]
            self.layers.append(layer)
            channels = after

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        features = images - 0.5
        for layer in self.layers:
            features = functional.leaky_relu(layer(features), 0.2)
        return functional.adaptive_avg_pool2d(features, CELLS).flatten(1)
