"""The simplest backbone: the observation itself, as a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
from torch import Tensor, nn

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.layers.inputs import Obs


@dataclass(frozen=True)
class LinearOptions:
    """The observation as a vector, so that an agent's outputs are linear in it."""


class Linear(nn.Module):
    """Any observation as one vector [B, out_features]; fully connected layers only if `hidden_sizes` are given.

    Raises:
        ValueError: for a space that cannot be read as a vector.
    """

    name: ClassVar[str] = "linear"
    Options: ClassVar[type[LinearOptions]] = LinearOptions
    sizes: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        observation_space: gym.Space[Any],
        hidden_sizes: Sequence[int] | None = None,
        *,
        options: LinearOptions | None = None,
        activation: str = "relu",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.options = options or LinearOptions()
        self.layers = MLP(observation_space, hidden_sizes or (), activation=activation, layer_norm=layer_norm)
        self.out_features = self.layers.out_features

    def finish(self) -> None:
        """Called once the weights have their initial values."""

    def forward(self, obs: Obs) -> Tensor:
        features: Tensor = self.layers(obs)
        return features
