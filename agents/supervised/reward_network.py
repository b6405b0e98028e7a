"""The network that predicts rewards, which agents can learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.agents.supervised.scale import Scale
from gymnast.agents.supervised.task import FitNetwork, hidden_head
from gymnast.networks.build import build
from gymnast.networks.layers.inputs import Obs, Vector

LAYERS = ("network", "network_options", "hidden_sizes", "activation", "layer_norm")
"""The settings of a fitted network that its layers depend on."""


class RewardNetwork(FitNetwork):
    """Observations [B, ...] and actions [B, ...] to rewards, in units of the deviation of `scale`."""

    def __init__(self, backbone: nn.Module, head: nn.Module, action: Vector, scale: nn.Module) -> None:
        super().__init__(backbone, {"reward": head, "action": action, "scale": scale})

    def forward(self, obs: Obs, action: Tensor) -> Tensor:
        """The scaled rewards [B, 1]."""
        inputs = torch.cat([self.backbone(obs), self.heads["action"](action)], 1)
        found: Tensor = self.heads["reward"](inputs)
        return found

    def reward(self, obs: Obs, action: Tensor) -> Tensor:
        """The rewards [B] in their own units."""
        found: Tensor = self.heads["scale"].back(self(obs, action)).squeeze(1)
        return found


def build_reward_network(
    observation_space: gym.Space[Any], action_space: gym.Space[Any], settings: Mapping[str, Any]
) -> RewardNetwork:
    """An untrained network of the `LAYERS` of a fitted one, whose weights are to be loaded."""
    generator = torch.Generator().manual_seed(0)
    backbone = build(
        settings["network"],
        observation_space,
        options=settings["network_options"],
        hidden_sizes=settings["hidden_sizes"],
        activation=settings["activation"],
        layer_norm=settings["layer_norm"],
        generator=generator,
    )
    action = Vector(action_space)
    head = hidden_head(int(backbone.out_features) + action.out_features, 1)  # type: ignore[arg-type]
    return RewardNetwork(backbone, head, action, Scale(torch.zeros(1, 1)))
