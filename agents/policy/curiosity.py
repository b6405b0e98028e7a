"""Curiosity: the error in predicting what an action changes (ICM, Pathak et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics, torch_seed
from gymnast.agents.maths.means import shares, weighted_mean
from gymnast.agents.optim.phases import Part
from gymnast.agents.policy.inverse_features import InverseFeatures
from gymnast.agents.policy.novelty import FEATURES, Experience, Trained
from gymnast.envs.step import Obs, Step
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Vector

FORWARD = 0.2
"""Share of the forward model in the loss, beta of the paper."""
HIDDEN = 256


class Curiosity:
    """Half the squared error of predicted features (eq. 6), with features of inverse dynamics.

    The loss is (1 - beta) times that of the inverse model plus beta times that of the forward model (eq. 7), whose
    gradient stays in the forward model: features cannot make themselves predictable.
    """

    needs_successors = True

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        device: torch.device,
        seed: np.random.SeedSequence,
    ) -> None:
        weights, order = seed.spawn(2)
        generator = torch.Generator().manual_seed(torch_seed(weights))
        self.features = InverseFeatures(
            observation_space, action_space, size=FEATURES, generator=generator, device=device
        )
        self.action = Vector(action_space).to(device)
        self.dynamics = nn.Sequential(
            nn.Linear(FEATURES + self.action.out_features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, FEATURES)
        )
        initialise(self.dynamics, "orthogonal", activation="relu", generator=generator)
        self.dynamics.to(device)
        modules: dict[str, nn.Module] = {"features": self.features, "dynamics": self.dynamics}
        draws = torch.Generator(device).manual_seed(torch_seed(order))
        self.trained = Trained(nn.ModuleDict(modules), modules, draws)

    @torch.no_grad()
    def reward(self, obs: Obs, action: Tensor, step: Step) -> Tensor:
        return self._error(self.features(obs), action, self.features(step.next_obs))

    def _error(self, features: Tensor, action: Tensor, following: Tensor) -> Tensor:
        """Half the squared error of each row, [B]."""
        predicted = self.dynamics(torch.cat([features, self.action(action)], 1))
        error: Tensor = 0.5 * (predicted - following).square().sum(1)
        return error

    def learn(self, experience: Experience) -> Metrics:
        steps = experience.rows()
        self.features.see(steps.obs, steps.weight)

        def loss_of(index: Tensor) -> Tensor:
            some = steps.taken(index)
            features, following = self.features.pair(some)
            share = shares(some.weight)
            inverse = self.features.loss(features, following, some.action, share)
            forward = weighted_mean(self._error(features.detach(), some.action, following.detach()), share)
            return (1.0 - FORWARD) * inverse + FORWARD * forward

        return {"intrinsic_loss": self.trained.learn(len(steps.weight), loss_of)}

    def cut_off(self, rows: Sequence[int]) -> None:
        """Nothing is remembered of an episode."""

    def update_parts(self) -> Iterator[Part]:
        yield Part(self, "_error", "forward")
        yield Part(self.trained.optimizer, "step", "optimizer")

    def state_dict(self) -> dict[str, Any]:
        return self.trained.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trained.load_state_dict(state)
