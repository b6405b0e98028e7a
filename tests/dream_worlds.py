"""World models that know their environment exactly, as a user's own agents: inside equals outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Imagined
from gymnast.envs.native.cartpole import NAMES, CartPole
from gymnast.envs.native.catch import Catch
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game


@dataclass(frozen=True)
class ExactConfig:
    """Settings of an exact model."""

    noise: float = 0.0
    """Standard deviation of what each imagined step adds to the observation, times the temperature."""
    decoder: bool = True
    """Whether the model can imagine observations."""
    drift: float = 0.0
    """What each imagined step adds to the observation."""


class ExactActor:
    """Acts by a rule."""

    def __init__(self, agent: Exact) -> None:
        self._agent = agent

    def act(self, obs: Any, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        return Acted(self._agent.rule(obs))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Exact:
    """A game's own rules as a world model."""

    game: Game
    names: tuple[str, ...]
    """Of the game's state, the columns of the model's."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ExactConfig = ExactConfig(),
        *,
        num_envs: int = 1,
        device: str = "cpu",
        seed: Any = 0,
    ) -> None:
        self.observation_space, self.action_space, self.config = observation_space, action_space, config
        self.device = torch.device(device)
        self.scale = torch.ones(1)
        """Of rewards."""
        self.env_step = self.updates = 0

    def rule(self, obs: Any) -> Tensor:
        raise NotImplementedError

    def first(self, num: int, generator: torch.Generator) -> Tensor:
        raise NotImplementedError

    def recognised(self, obs: Tensor) -> Tensor:
        raise NotImplementedError

    def actor(self, num_envs: int, *, explore: bool, seed: Any) -> ExactActor:
        return ExactActor(self)

    def store(self, obs: Any, acted: Acted, step: Any) -> None:
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        return 0

    def learn(self) -> dict[str, Tensor]:
        return {}

    def scheduled(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"env_step": self.env_step, "scale": self.scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.env_step, self.scale = state["env_step"], state["scale"]

    def _named(self, state: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, state.unbind(1), strict=True))

    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if not self.config.decoder:
            raise ValueError("the model was trained without a decoder")
        state = self.first(num, generator)
        return state, self.game.observe(self._named(state))

    def dream_step(
        self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float = 1.0
    ) -> Imagined:
        draws = Draws(torch.zeros_like(action), torch.zeros_like(action))
        after, reward, terminated = self.game.step(self._named(state), action, draws)
        obs = self.game.observe(after)
        noise = torch.randn(obs.shape, generator=generator, device=self.device) * (self.config.noise * temperature)
        moved = torch.stack([after[name] for name in self.names], 1)
        return Imagined(moved, obs + noise + self.config.drift, reward * self.scale, terminated)

    def dream_after(self, obs: Tensor, action: Tensor, start: Tensor) -> Tensor:
        return self.recognised(obs[:, -1])


class Physics(Exact):
    """CartPole-v1 in float32; it pushes the cart to where the pole leans."""

    game, names = CartPole(device=torch.device("cpu")), NAMES

    def rule(self, obs: Any) -> Tensor:
        return (obs[:, 2] + obs[:, 3] > 0).long()

    def first(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand((num, 4), generator=generator) * 0.1 - 0.05

    def recognised(self, obs: Tensor) -> Tensor:
        return obs


class Catcher(Exact):
    """gymnast/Catch-v0, whose observations are images; the paddle stays."""

    game, names = Catch(device=torch.device("cpu")), ("row", "column", "paddle")

    def rule(self, obs: Any) -> Tensor:
        return torch.ones(len(obs), dtype=torch.int64)

    def first(self, num: int, generator: torch.Generator) -> Tensor:
        column = torch.randint(5, (num,), generator=generator)
        return torch.stack([torch.zeros_like(column), column, torch.full_like(column, 2)], 1)

    def recognised(self, obs: Tensor) -> Tensor:
        ball = obs[:, :-1].flatten(1).argmax(1)  # it lands only when the episode ends
        return torch.stack([ball // 5, ball % 5, obs[:, -1].argmax(1)], 1)
