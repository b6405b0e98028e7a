"""How a world model acts outside its dream."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, restore_generator, seed_sequence, torch_seed
from gymnast.agents.random_actor import RandomActor
from gymnast.agents.schedules import Schedule
from gymnast.agents.world_models.controller import Controller
from gymnast.agents.world_models.world_models_config import WorldModelsConfig
from gymnast.agents.world_models.world_models_model import Model
from gymnast.envs.step import Obs
from gymnast.networks.layers.recurrent import reset


class Dreamt(Protocol):
    """The part of an agent that its actors use."""

    config: WorldModelsConfig
    action_space: gym.Space[Any]
    device: torch.device
    env_step: int
    epsilon: Schedule
    model: Model
    controller: Controller
    policy: Tensor
    generations: int


class WorldModelActor:
    """Acts with the agent's controller from the mean of the latent and a memory of each row's episode.

    While exploring all actions are random until the first generation, and some by epsilon after it.
    """

    def __init__(self, agent: Dreamt, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> None:
        self.agent, self.explore = agent, explore
        sequence = seed_sequence(seed)
        random_seed, mix_seed = sequence.spawn(2)
        self._random = RandomActor(agent.action_space, num_envs, seed=random_seed)
        self._generator = torch.Generator().manual_seed(torch_seed(mix_seed))
        self.memory = torch.zeros((num_envs, agent.model.dynamics.memory_size), device=agent.device)
        """[N, M], of the steps before the next observation."""

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        mask = action_mask if agent.config.action_masks else None
        if self.explore and not agent.generations:
            return Acted(self._random.act(obs, start, mask).action.to(agent.device))
        latent, memory = agent.model.latents.encode(obs), reset(self.memory, start)
        features = agent.model.features(torch.cat([latent, memory], 1))
        action = agent.controller.act(agent.policy, features, mask)
        epsilon = agent.epsilon(agent.env_step) if self.explore else 0.0
        if epsilon:
            explores = torch.rand(len(action), generator=self._generator) < epsilon
            random = self._random.act(obs, start, mask).action
            chosen = explores.view(-1, *[1] * (action.dim() - 1))
            action = torch.where(chosen.to(agent.device), random.to(action), action)
        self.memory = agent.model.dynamics.step(latent, agent.model.action(action), memory)[1]
        return Acted(action)

    def state_dict(self) -> dict[str, Any]:
        return {
            "random": self._random.state_dict(),
            "generator": self._generator.get_state(),
            "memory": self.memory.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._random.load_state_dict(state["random"])
        restore_generator(self._generator, state["generator"])
        self.memory = state["memory"].to(self.agent.device)
