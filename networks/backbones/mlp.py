"""Fully connected layers over any observation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
from torch import Tensor, nn

from gymnast.networks.backbones.base import Backbone, check_share, one_norm
from gymnast.networks.layers.activations import FUNCTIONS
from gymnast.networks.layers.blocks import NORMS, Norm, constrain
from gymnast.networks.layers.inputs import Obs, Vector


@dataclass(frozen=True)
class MLPOptions:
    """Fully connected layers; those of an agent's head are not among them."""

    shortcuts: bool = False
    """Let every layer, and the head, see the observation and all earlier layers (Lang & Witbrock 1988)."""
    norm: Norm = "none"
    """Normalisation before each activation: none, batch, layer, group, rms, weight or spectral."""
    dropout: float = 0.0
    """Share of each layer's outputs that is dropped in training (Srivastava et al. 2014)."""
    scale: bool = False
    """Scale numbers of an observation from their bounds to [-1, 1], if the space has finite ones."""

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        check_share("dropout", self.dropout)


class MLP(Backbone):
    """Fully connected layers, an activation after each; [B, ...] to [B, out_features], or the vector itself.

    Any observation is read as `Vector` does. With `layer_norm`, or the option `norm`, each layer's output is normalised
    before its activation.

    Raises:
        ValueError: options of layers where there are none, or both `layer_norm` and `norm`.
    """

    name, Options, sizes = "mlp", MLPOptions, (120, 84)
    options: MLPOptions

    def prepare(self, space: gym.Space[Any]) -> int:
        options = self.options
        of_layers = [field for field in fields(options) if field.name != "scale"]
        given = [field.name for field in of_layers if getattr(options, field.name) != field.default]
        if given and not self.hidden_sizes:
            raise ValueError(f"network mlp: {given[0]} needs layers below the head, and hidden_sizes leaves none")
        self.norm, self.shortcuts = one_norm(self.name, options.norm, self.layer_norm), options.shortcuts
        if options.dropout:
            self.dropout = nn.Dropout(options.dropout)
        self.vector = Vector(space, scale=options.scale)
        return self.vector.out_features

    @property
    def beyond(self) -> list[str]:
        """What it has besides linear layers, layer normalisations and elementwise functions, in words."""
        found = {
            f"activation {self.activation}": self.activation not in FUNCTIONS,
            "shortcuts": self.shortcuts,
            f"norm {self.norm}": self.norm not in ("none", "layer"),
            "dropout": self.dropout is not None,
        }
        return [words for words, has in found.items() if has]

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing `beyond`, so that it is a chain of these layers."""
        return not self.beyond

    def read(self, obs: Obs) -> Tensor:
        vector: Tensor = self.vector(obs)
        return vector

    def finish(self) -> None:
        constrain(self.layers, self.norm, linear=True)
