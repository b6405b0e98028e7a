"""Fully connected layers, each with its normalisation and its activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gymnast.networks.layers import activations as named
from gymnast.networks.layers.activations import Activate
from gymnast.networks.layers.blocks import normalisation


class Dense(NamedTuple):
    """The parts of fully connected layers, for `through`; a backbone keeps them under names of its own."""

    layers: nn.ModuleList
    norms: nn.ModuleList
    activations: Sequence[Activate]
    out_features: int


def dense(width: int, sizes: Sequence[int], *, activation: str, norm: str, shortcuts: bool = False) -> Dense:
    """Layers of `sizes` units after features [B, width].

    With `shortcuts` every layer sees the features and the outputs of all earlier layers, and so does whatever follows
    (Lang & Witbrock 1988).
    """
    made = [named.activation(activation, size) for size in sizes]
    layers, norms = nn.ModuleList(), nn.ModuleList()
    for one in made:
        layers.append(nn.Linear(width, one.in_features))
        norms.append(normalisation(norm, one.in_features, images=False))
        width = width + one.out_features if shortcuts else one.out_features
    return Dense(layers, norms, named.functions(made), width)


def through(features: Tensor, layers: nn.ModuleList, norms: nn.ModuleList, activations: Sequence[Activate]) -> Tensor:
    """Features [B, F] through layers, each with its normalisation and its activation."""
    for layer, norm, activate in zip(layers, norms, activations, strict=True):
        features = activate(norm(layer(features)))
    return features


def spread(
    features: Tensor,
    layers: nn.ModuleList,
    norms: nn.ModuleList,
    activations: Sequence[Activate],
    *,
    dropout: nn.Module | None,
    shortcuts: bool,
) -> Tensor:
    """Like `through`, with dropout after each layer, or shortcuts from all earlier ones."""
    for layer, norm, activate in zip(layers, norms, activations, strict=True):
        output = activate(norm(layer(features)))
        if dropout is not None:
            output = dropout(output)
        features = torch.cat([features, output], -1) if shortcuts else output
    return features
