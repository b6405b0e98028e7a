"""Policy and value that remember: convolutions over restored images, an LSTM, and two linear heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.recurrent import Core

STAGES = 4
"""Convolutions, at most."""
SMALLEST = 8
"""Pixels of the shorter side from which it is halved again."""
SCALE = 0.01
"""Of the policy's first weights, so that its first actions are nearly uniform."""


class FramePolicy(nn.Module):
    """What a decoder restores [B, *shape], images between 0 and 1 or vectors, to outputs [B, P] and values [B].

    Images go through up to four convolutions of 3x3, each max-pooled, with `channels` and from the third on twice as
    many (Micheli et al. 2023); vectors through two layers of the LSTM's `units`. The memory [B, M] is zero when an
    episode begins.
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, *, channels: int, units: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.pictured = len(shape) == 3
        layers: list[nn.Module] = []
        if self.pictured:
            planes, height, width = shape
            for number in range(STAGES):
                if number and min(height, width) < SMALLEST:
                    break
                after = channels * (1 if number < STAGES // 2 else 2)
                layers += [nn.Conv2d(planes, after, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()]
                planes, height, width = after, math.ceil(height / 2), math.ceil(width / 2)
            layers.append(nn.Flatten())
            features = planes * height * width
        else:
            layers += [nn.Linear(shape[0], units), nn.ReLU(), nn.Linear(units, units), nn.ReLU()]
            features = units
        self.layers = nn.Sequential(*layers)
        self.core = Core("lstm", features, units)
        self.policy, self.value = nn.Linear(units, outputs), nn.Linear(units, 1)
        initialise(self, "torch", activation=None, generator=generator)
        with torch.no_grad():
            self.policy.weight.mul_(SCALE)

    @property
    def memory_size(self) -> int:
        """M, numbers of the memory."""
        return self.core.memory_size

    def features(self, restored: Tensor) -> Tensor:
        """[B, F] of what is restored [B, *shape]."""
        found: Tensor = self.layers(2.0 * restored - 1.0 if self.pictured else restored)
        return found

    def step(self, restored: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs [B, P], values [B] and the memory [B, M] after an observation and the memory before it."""
        hidden, memory = self.core.step(self.features(restored), memory)
        return self.policy(hidden), self.value(hidden).squeeze(1), memory

    def after(self, restored: Tensor, begins: Tensor, memory: Tensor) -> Tensor:
        """The memory [B, M] after sequences [B, T, *shape], of which `begins` bool [B, T] begin an episode."""
        if not restored.shape[1]:
            return memory
        features = self.features(restored.flatten(0, 1)).view(*restored.shape[:2], -1)
        return self.core.after(features, begins, memory)
