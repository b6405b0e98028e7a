"""Agents for bandits, problems of one state: upper confidence bounds and Thompson sampling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, LearningError, Metrics, seed_sequence
from gymnast.envs.step import Obs, Step


@dataclass(frozen=True)
class UCBConfig:
    """UCB1 (Auer, Cesa-Bianchi & Fischer 2002)."""

    confidence: float = 2.0
    """The bonus of an arm is sqrt(confidence * ln(t) / N); 2 is UCB1's, for rewards within [0, 1]."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence < np.inf:
            raise ValueError(f"confidence must be >= 0, got {self.confidence}")


@dataclass(frozen=True)
class ThompsonConfig:
    """Thompson sampling (Thompson 1933; Agrawal & Goyal 2012)."""

    posterior: Literal["gaussian", "beta"] = "gaussian"
    """gaussian: mean rewards with a normal prior; beta: the chance of rewards that are 0 or 1, with a uniform prior."""
    prior_mean: float = 0.0
    """Mean of the normal prior."""
    prior_std: float = 1.0
    """Standard deviation of the normal prior."""
    reward_std: float = 1.0
    """Standard deviation of a reward around its arm's mean, taken as known."""

    def __post_init__(self) -> None:
        if self.posterior not in ("gaussian", "beta"):
            raise ValueError(f"posterior must be gaussian or beta, got {self.posterior!r}")
        if not np.isfinite(self.prior_mean):
            raise ValueError(f"prior_mean must be finite, got {self.prior_mean}")
        for name in ("prior_std", "reward_std"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")


class BanditAgent(ABC):
    """What bandit agents share: pulls and rewards of each arm, summed over all rows."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], name: str) -> None:
        if not (isinstance(observation_space, gym.spaces.Discrete) and int(observation_space.n) == 1):
            raise ValueError(f"{name} is for bandits (one state, as in gymnast/Bandit-v0), got {observation_space}")
        if not isinstance(action_space, gym.spaces.Discrete):
            raise ValueError(f"{name} needs Discrete actions, got {action_space}")
        self.observation_space, self.action_space = observation_space, action_space
        self.first_action = int(action_space.start)
        self.counts = np.zeros((1, int(action_space.n)), np.int64)  # [1, A], pulls
        self.rewards = np.zeros(int(action_space.n))  # [A], sums
        self.env_step = self.updates = 0

    @abstractmethod
    def choose(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """The arms, counted from 0, that exploring rows pull next: int64 [rows]."""

    def means(self) -> np.ndarray:
        """Mean reward of each arm so far, float64 [A]; 0 where it was never pulled."""
        means: np.ndarray = self.rewards / np.maximum(self.counts[0], 1)
        return means

    def q_table(self) -> np.ndarray:
        """The means as a table of one state, float64 [1, A]."""
        return self.means()[None]

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> BanditActor:
        return BanditActor(self, num_envs, explore=explore, seed=seed)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        arms, reward = acted.action.cpu().numpy() - self.first_action, step.reward.cpu().numpy()
        if step.active is not None:
            active = step.active.cpu().numpy()
            arms, reward = arms[active], reward[active]
        np.add.at(self.counts[0], arms, 1)
        np.add.at(self.rewards, arms, reward)
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        return 0  # counting is all the learning there is, and `store` does it

    def learn(self) -> Metrics:
        raise RuntimeError("a bandit agent learns in store")

    def scheduled(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        arrays = {"counts": self.counts, "rewards": self.rewards}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        return {**tensors, "env_step": self.env_step, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if tuple(state["counts"].shape) != self.counts.shape:
            raise ValueError(f"the state has {state['counts'].shape[1]} arms, this agent {self.counts.shape[1]}")
        self.counts, self.rewards = state["counts"].numpy().copy(), state["rewards"].numpy().copy()
        self.env_step, self.updates = state["env_step"], state["updates"]


class UCB(BanditAgent):
    """Pulls the arm with the highest mean + sqrt(confidence * ln t / N), each once first (Auer et al. 2002, UCB1)."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: UCBConfig,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        super().__init__(observation_space, action_space, "ucb")
        self.config = config

    def choose(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        # Rows choose one after the other, each as if the pulls of the rows before it had been counted: else all rows
        # would pull the same arm.
        counts, means = self.counts[0].copy(), self.means()
        arms = np.zeros(rows, np.int64)
        for row in range(rows):
            total = max(int(counts.sum()), 1)
            bonus = np.sqrt(self.config.confidence * np.log(total) / np.maximum(counts, 1))
            arms[row] = np.where(counts == 0, np.inf, means + bonus).argmax()
            counts[arms[row]] += 1
        return arms


class Thompson(BanditAgent):
    """Pulls the arm whose draw from its posterior is the highest (Agrawal & Goyal 2012, algorithms 1 and 2)."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ThompsonConfig,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        super().__init__(observation_space, action_space, "thompson")
        self.config = config

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        if self.config.posterior == "beta" and not ((step.reward == 0) | (step.reward == 1)).all():
            raise LearningError("posterior beta is for rewards that are 0 or 1; use posterior gaussian")
        super().store(obs, acted, step)

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each arm's normal posterior, or the two parameters of its beta one; [A]."""
        config, counts = self.config, self.counts[0]
        if config.posterior == "beta":
            return 1.0 + self.rewards, 1.0 + counts - self.rewards
        precision = config.prior_std**-2 + counts * config.reward_std**-2
        mean = (config.prior_mean * config.prior_std**-2 + self.rewards * config.reward_std**-2) / precision
        return mean, precision**-0.5

    def choose(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        first, second = self.posterior()
        draw = rng.beta if self.config.posterior == "beta" else rng.normal
        chosen: np.ndarray = draw(first, second, size=(rows, len(first))).argmax(1)
        return chosen


class BanditActor:
    """One stream of pulls; without exploration always the arm with the best mean."""

    def __init__(self, agent: BanditAgent, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> None:
        self.agent, self.num_envs, self.explore = agent, num_envs, explore
        self.rng = np.random.Generator(np.random.PCG64(seed_sequence(seed)))

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        if self.explore:
            arms = agent.choose(self.rng, self.num_envs)
        else:
            arms = np.full(self.num_envs, agent.means().argmax())
        return Acted(torch.from_numpy(arms + agent.first_action).to(start.device))

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
