"""Features that tell which action led from one observation to the next."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.agents.auxiliary import Actions
from gymnast.agents.policy.novelty import CLIP, Experience, embedding
from gymnast.envs.step import Obs
from gymnast.networks.heads.auxiliary import InverseDynamicsHead
from gymnast.networks.layers.images import is_image
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.normalise import RunningNorm


class InverseFeatures(nn.Module):
    """Observations to features [B, F], trained to predict actions (inverse dynamics, Pathak et al. 2017, eq. 2 and 3).

    What the agent cannot influence does not help the prediction, and is left out of the features. Observations of
    floats are normalised.

    Raises:
        ValueError: a space of actions that cannot be predicted.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        size: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        super().__init__()
        images = is_image(observation_space)
        self.norm = nn.Identity() if images else RunningNorm(observation_space, clip=CLIP, device=device)
        self.embedding = embedding("auto", observation_space, generator, deep=False, size=size).to(device)
        self.actions = Actions(action_space, device=device)
        self.head = InverseDynamicsHead(size, self.actions.outputs).to(device)
        initialise(self.head, "orthogonal", activation="relu", generator=generator)

    def forward(self, obs: Obs) -> Tensor:
        features: Tensor = self.embedding(self.norm(obs))
        return features

    def pair(self, steps: Experience) -> tuple[Tensor, Tensor]:
        """Features [B, F] of both observations of each of B steps."""
        assert steps.next_obs is not None
        return self(steps.obs), self(steps.next_obs)

    def see(self, obs: Obs, weight: Tensor) -> None:
        """Take observations [B, ...] into the statistics of the normalisation."""
        if isinstance(self.norm, RunningNorm):
            self.norm.update(obs, weight)

    def loss(self, features: Tensor, following: Tensor, action: Tensor, share: Tensor) -> Tensor:
        """Loss [] of the prediction of actions [B, ...] from features of both observations; `share` [B] sums to 1."""
        return self.actions.loss(self.head(features, following), action, share)[0]
