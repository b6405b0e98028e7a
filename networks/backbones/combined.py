"""A backbone for observations of several parts, images among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.networks.backbones.convolutional import NatureCNN
from gymnast.networks.backbones.mlp import dense, norms
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.images import is_image, leaves
from gymnast.networks.layers.inputs import Obs, Vector


class Combined(nn.Module):
    """Each image through its own convolutions (Mnih et al. 2015), the other parts as in `Vector`.

    The results are concatenated in the space's order and go through fully connected layers, an activation
    after each; a nested dict of [B, ...] to [B, out_features]. With `layer_norm` all layers are normalised as those of
    `ConvNet` and `MLP`.

    Raises:
        ValueError: no part is an image (uint8, 36 pixels or more), or a part is of an unsupported kind.
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
        read = dict(leaves(observation_space))
        if not any(is_image(space) for space in read.values()):
            raise ValueError(
                "network combined needs a uint8 image of at least 36x36 pixels among the parts of the "
                "observation; mlp takes any observation"
            )
        self.paths = list(read)
        parts = [
            NatureCNN(space, (), layer_norm=layer_norm) if is_image(space) else Vector(space) for space in read.values()
        ]
        self.parts = nn.ModuleList(parts)
        widths = [sum(part.out_features for part in parts), *hidden_sizes]
        self.layers = dense(widths)
        self.norms = norms(widths[1:], layer_norm)
        self.activation = activation
        self.out_features = widths[-1]

    def forward(self, obs: Obs) -> Tensor:
        activate = ACTIVATIONS[self.activation]
        seen = [part(_at(obs, path)) for path, part in zip(self.paths, self.parts, strict=True)]
        features = torch.cat(seen, 1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            features = activate(norm(layer(features)))
        return features


def _at(obs: Obs, path: tuple[str, ...]) -> Tensor:
    for key in path:
        obs = obs[key]
    tensor: Tensor = obs
    return tensor
