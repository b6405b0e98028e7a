"""The decision of a linear controller on the latents and the memory of a world model, differentiable."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gymnast.agents.base import Decision
from gymnast.agents.world_models.controller import Controller
from gymnast.agents.world_models.world_models_config import WorldModelsConfig
from gymnast.agents.world_models.world_models_model import Model
from gymnast.envs.step import Obs
from gymnast.networks.distributions.choices import BLOCKED
from gymnast.networks.world_models.latents import VAE


class _HasController(Protocol):
    model: Model
    controller: Controller
    config: WorldModelsConfig
    policy: Tensor
    action_space: gym.Space[Any]
    device: torch.device
    _linear: nn.Linear


class DecidesByController:
    """Gives an agent of world models the members of `DecidingAgent`. It has no value of a state."""

    @cached_property
    def _linear(self: _HasController) -> nn.Linear:
        """The controller as a layer, whose weights `decide` keeps up to date; no random numbers are drawn for it."""
        sizes = self.controller.features, self.controller.outputs
        layer: nn.Linear = skip_init(nn.Linear, *sizes, device=self.device)  # type: ignore[no-untyped-call]
        return layer

    @property
    def decision_network(self: _HasController) -> nn.Module:
        latents = self.model.latents
        parts = {"encoder": latents.backbone, "latent": latents.posterior} if isinstance(latents, VAE) else {}
        return nn.ModuleDict({**parts, "controller": self._linear})

    @property
    def decision_memory(self: _HasController) -> int:
        return self.model.dynamics.memory_size

    @property
    def preferences(self: _HasController) -> str:
        return "mean of the action" if isinstance(self.action_space, spaces.Box) else "score"

    def decide(
        self: _HasController, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None
    ) -> Decision:
        """The controller's outputs, or the numbers of a Box's action; the features are what it reads."""
        model, layer = self.model, self._linear
        weight, bias = self.controller.split(self.policy)
        layer.weight.data, layer.bias.data = weight.t(), bias  # new storage: graphs of earlier decisions stay valid
        latent = model.latents.encode(obs)
        before = latent.new_zeros(len(latent), model.dynamics.memory_size) if memory is None else memory
        features = model.features(torch.cat([latent, before], 1))
        output = layer(features)
        mask = action_mask if self.config.action_masks else None
        action = self.controller.choose(output, mask)
        if isinstance(self.action_space, spaces.Box):
            output = action.flatten(1).float()
        elif mask is not None and isinstance(self.action_space, spaces.Discrete):
            output = output.masked_fill(~mask, BLOCKED)
        after = model.dynamics.step(latent, model.action(action), before)[1]
        return Decision(output, None, features, after)
