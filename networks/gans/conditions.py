"""What examples are generated under: classes, or actions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.networks.layers.inputs import Vector


class Conditions(nn.Module):
    """Labels [B, ...] of a space as vectors [B, size]: choices one-hot, numbers of a Box as they are.

    `draw` gives labels as often as they are among those of a sample [N, ...].
    """

    labels: Tensor

    def __init__(self, space: gym.Space[Any], sample: Tensor) -> None:
        super().__init__()
        self.vector = Vector(space)
        self.size = self.vector.out_features
        self.register_buffer("labels", sample)

    def forward(self, labels: Tensor) -> Tensor:
        vector: Tensor = self.vector(labels)
        return vector

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take as many labels as there are."""
        if (name := f"{prefix}labels") in state:
            self.labels = torch.empty_like(state[name], device=self.labels.device)
        super()._load_from_state_dict(state, prefix, *rest)

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Labels [number, ...]."""
        return self.labels[torch.randint(len(self.labels), (number,), generator=generator, device=self.labels.device)]
