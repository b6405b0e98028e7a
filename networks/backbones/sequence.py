"""The base of backbones for sequences: observations whose first axis is time."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.backbones.base import Backbone
from gymnast.networks.layers.inputs import Obs

EMBEDDING = 16
"""Features of a token's learned vector."""


class Steps(nn.Module):
    """Observations [B, T, ...] as float32 [B, T, out_features].

    Of a Box the first axis is time and the others are flattened; uint8 is scaled by 1/255. A MultiDiscrete [T] is a
    sequence of tokens, each of which has a learned vector.

    Raises:
        ValueError: for other spaces.
    """

    first: Tensor

    def __init__(self, space: gym.Space[Any], *, name: str) -> None:
        super().__init__()
        self.embedding: nn.Embedding | None = None
        self.scale = 1.0
        if isinstance(space, spaces.Box) and len(space.shape) >= 2:
            self.steps, self.out_features = space.shape[0], int(np.prod(space.shape[1:]))
            self.scale = 1 / 255 if space.dtype == np.uint8 else 1.0
        elif isinstance(space, spaces.MultiDiscrete) and len(space.shape) == 1:
            self.steps, self.out_features = space.shape[0], EMBEDDING
            self.embedding = nn.Embedding(int(space.nvec.max()), EMBEDDING)
            self.register_buffer("first", torch.as_tensor(space.start), persistent=False)
        else:
            raise ValueError(
                f"network {name} needs a sequence, a Box [T, ...] or a MultiDiscrete [T], got {space}; "
                "mlp takes any observation"
            )

    def forward(self, obs: Obs) -> Tensor:
        if self.embedding is not None:
            vectors: Tensor = self.embedding(obs - self.first)
            return vectors
        steps: Tensor = obs.flatten(2).float().mul(self.scale)
        return steps


class SequenceBackbone(Backbone):
    """Sequences [B, T, ...], summarised as one vector.

    A family writes `make`, a body from [B, T, F] to outputs [B, T, units], and `summary`, the last output by default.
    """

    def prepare(self, space: gym.Space[Any]) -> int:
        self.steps = Steps(space, name=self.name)
        self.body, width = self.make(self.steps.out_features)
        return width

    @abstractmethod
    def make(self, features: int) -> tuple[nn.Module, int]:
        """The body, [B, T, features] to [B, T, units], and the width of its `summary`."""

    def summary(self, outputs: Tensor) -> Tensor:
        """Outputs [B, T, units] as one vector [B, width]."""
        return outputs[:, -1]

    def outputs(self, obs: Obs) -> Tensor:
        """The outputs of every step, [B, T, units]."""
        outputs: Tensor = self.body(self.steps(obs))
        return outputs

    def read(self, obs: Obs) -> Tensor:
        return self.summary(self.outputs(obs))

    def each(self, obs: Obs) -> Tensor:
        """The features of every step, [B, T, out_features], by the fully connected layers that the summary passes."""
        return self.onward(self.outputs(obs))
