"""World models that know their environment exactly, as a user's own agents: inside equals outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Imagined
from gymnast.envs.native.cartpole import NAMES, CartPole
from gymnast.envs.native.draws import Draws


@dataclass(frozen=True)
class PhysicsConfig:
    """Settings of a model of CartPole-v1."""

    noise: float = 0.0
    """Standard deviation that each imagined step adds to the state, times the temperature."""
    decoder: bool = True
    """Whether the model can imagine observations."""


class Leaning:
    """Pushes the cart to where the pole leans."""

    def act(self, obs: Any, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        return Acted((obs[:, 2] + obs[:, 3] > 0).long())

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Physics:
    """The rules of CartPole-v1 in float32 as a world model; its state is the observation."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: PhysicsConfig = PhysicsConfig(),
        *,
        num_envs: int = 1,
        device: str = "cpu",
        seed: Any = 0,
    ) -> None:
        self.observation_space, self.action_space, self.config = observation_space, action_space, config
        self.device = torch.device(device)
        self.weight = torch.ones(1)
        self.env_step = self.updates = 0
        self._game = CartPole(device=self.device)

    def actor(self, num_envs: int, *, explore: bool, seed: Any) -> Leaning:
        return Leaning()

    def store(self, obs: Any, acted: Acted, step: Any) -> None:
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        return 0

    def learn(self) -> dict[str, Tensor]:
        return {}

    def scheduled(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"env_step": self.env_step, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.env_step, self.weight = state["env_step"], state["weight"]

    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if not self.config.decoder:
            raise ValueError("it was trained without a decoder")
        state = torch.rand((num, 4), generator=generator, device=self.device) * 0.1 - 0.05
        return state, state

    def dream_step(
        self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float = 1.0
    ) -> Imagined:
        draws = Draws(torch.zeros_like(action), torch.zeros_like(action))
        after, reward, terminated = self._game.step(dict(zip(NAMES, state.unbind(1), strict=True)), action, draws)
        noise = torch.randn(state.shape, generator=generator, device=self.device)
        moved = self._game.observe(after) + noise * (self.config.noise * temperature)
        return Imagined(moved, moved, reward * self.weight, terminated)

    def dream_after(self, obs: Tensor, action: Tensor, start: Tensor) -> Tensor:
        return obs[:, -1]
