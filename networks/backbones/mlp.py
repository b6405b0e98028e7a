"""Backbones: from a batch of observations to features; each states `out_features`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from torch import Tensor, nn

from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.inputs import Obs, Vector


class MLP(nn.Module):
    """Fully connected layers, an activation after each; [B, ...] to [B, hidden_sizes[-1]], or the vector itself.

    With `layer_norm` each layer's output is normalised before its activation (Ba et al. 2016).
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        hidden_sizes: Sequence[int],
        *,
        activation: str,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.vector = Vector(observation_space)
        widths = [self.vector.out_features, *hidden_sizes]
        self.layers = dense(widths)
        self.norms = norms(widths[1:], layer_norm)
        self.layer_norm = layer_norm
        self.activation = activation
        self.out_features = widths[-1]

    def forward(self, obs: Obs) -> Tensor:
        return through(self.vector(obs), self.layers, self.norms, self.activation)


def through(features: Tensor, layers: nn.ModuleList, norms: nn.ModuleList, activation: str) -> Tensor:
    """Features [B, F] through layers, each with its normalisation and its activation."""
    activate = ACTIVATIONS[activation]
    for layer, norm in zip(layers, norms, strict=True):
        features = activate(norm(layer(features)))
    return features


def dense(widths: Sequence[int]) -> nn.ModuleList:
    """Linear layers between successive widths."""
    return nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))


def norms(widths: Sequence[int], layer_norm: bool) -> nn.ModuleList:
    """The module after each layer of these widths: a layer normalisation, or the identity."""
    return nn.ModuleList(nn.LayerNorm(width) if layer_norm else nn.Identity() for width in widths)
