"""The reward of a fitted model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.rewards.base import Played, by_parts, mean_of
from gymnast.agents.supervised.reward_network import build_reward_network
from gymnast.networks.modes import acting, freeze


class RewardModel:
    """Gives each transition the reward that a network of `gymnast fit reward` predicts; it does not learn further.

    `settings` describe the network (`LAYERS` of it); its weights come by `load` or with a state.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        device: torch.device,
    ) -> None:
        self.network = acting(freeze(build_reward_network(observation_space, action_space, settings).to(device)))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load the weights of the fitted network."""
        self.network.load_state_dict(weights)

    @torch.no_grad()
    def __call__(self, played: Played) -> tuple[Tensor, Metrics]:
        reward = by_parts(self.network.reward, played)
        return reward, {"learned_reward": mean_of(reward, played)}

    def state_dict(self) -> dict[str, Any]:
        return {"network": copy.deepcopy(dict(self.network.state_dict()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load(state["network"])
