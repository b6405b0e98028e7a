"""The simplest backbone: the observation itself, as a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from torch import Tensor

from gymnast.networks.backbones.base import Backbone
from gymnast.networks.layers.inputs import Obs, Vector


@dataclass(frozen=True)
class LinearOptions:
    """The observation as a vector, so that an agent's outputs are linear in it."""


class Linear(Backbone):
    """Any observation as `Vector` reads it; fully connected layers only if `hidden_sizes` are given."""

    name, Options = "linear", LinearOptions

    def prepare(self, space: gym.Space[Any]) -> int:
        self.vector = Vector(space)
        return self.vector.out_features

    def read(self, obs: Obs) -> Tensor:
        vector: Tensor = self.vector(obs)
        return vector
