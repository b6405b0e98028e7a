"""The network of GAIL: from an observation and an action to the logit that they are an expert's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.envs.step import Obs
from gymnast.networks.build import build
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Vector
from gymnast.networks.layers.normalise import RunningNorm

HIDDEN = 256
"""Units of the layer that sees both the features of the observation and the action."""
ACTIVATION = "tanh"
"""Of the fully connected layers, as in the code of Ho & Ermon 2016."""


class Discriminator(nn.Module):
    """Observations [B, ...] and actions [B, ...] to logits [B], high for the expert's.

    Floats are normalised by the statistics of all that was counted, expert's and policy's alike; the observation goes
    through a backbone, and the action joins its features.

    Raises:
        ValueError: an unknown network, or observations that it does not read.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        network: str,
        hidden_sizes: Sequence[int] | None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.obs_norm, self.action_norm = RunningNorm(observation_space), RunningNorm(action_space)
        self.action = Vector(action_space)
        self.backbone = build(
            network, observation_space, hidden_sizes=hidden_sizes, activation=ACTIVATION, generator=generator
        )
        inputs = int(self.backbone.out_features) + self.action.out_features  # type: ignore[arg-type]
        self.hidden, self.output = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, 1)
        initialise(self.hidden, "orthogonal", activation=ACTIVATION, generator=generator)
        initialise(self.output, "orthogonal", activation=None, generator=generator)
        self.pixel = (
            1 / 255 if isinstance(observation_space, spaces.Box) and observation_space.dtype == np.uint8 else 1.0
        )

    def count(self, obs: Obs, action: Tensor) -> None:
        """Count a batch in the statistics by which floats are normalised."""
        self.obs_norm.update(obs)
        self.action_norm.update(action)

    def seen(self, obs: Obs, action: Tensor) -> tuple[Any, Tensor]:
        """Observations and actions as `judge` takes them: normalised, actions as vectors [B, A]."""
        return self.obs_norm(obs), self.action(self.action_norm(action))

    def judge(self, seen: Any, action: Tensor) -> Tensor:
        """Logits [B] of what `seen` gives."""
        features = self.backbone(seen)
        hidden = torch.tanh(self.hidden(torch.cat([features, action], 1)))
        logit: Tensor = self.output(hidden).squeeze(1)
        return logit

    def forward(self, obs: Obs, action: Tensor) -> Tensor:
        return self.judge(*self.seen(obs, action))

    def squared_gradient(self, seen: Tensor, action: Tensor) -> Tensor:
        """The squared norm [B] of the gradient of each logit with respect to what `seen` gives, differentiable.

        Pixels are in units of 255.
        """
        point = (seen.detach().float() * self.pixel).requires_grad_()
        taken = action.detach().requires_grad_()
        logit = self.judge(point / self.pixel, taken)
        gradients = torch.autograd.grad(logit.sum(), (point, taken), create_graph=True)
        return torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
