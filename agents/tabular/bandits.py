"""Agents for bandits: one state, k arms. `counts` holds the pulls; computing regret needs the true means."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, HostAgent, LearningError, Metrics
from gymnast.agents.prediction import Predicts
from gymnast.agents.tabular.discretize import States
from gymnast.agents.tabular.greedy import GreedyTable
from gymnast.envs.step import Obs, Step


@dataclass(frozen=True)
class UCBConfig:
    """Upper confidence bounds (UCB1, Auer et al. 2002)."""

    c: float = math.sqrt(2.0)
    """Width of the confidence bounds; sqrt(2) suits rewards between 0 and 1."""

    def __post_init__(self) -> None:
        if not self.c >= 0.0:
            raise ValueError(f"c must be >= 0, got {self.c}")


@dataclass(frozen=True)
class ThompsonConfig:
    """Thompson sampling (Thompson 1933)."""

    posterior: Literal["gaussian", "beta"] = "gaussian"
    """gaussian for rewards of known variance, beta for rewards 0 and 1 with a uniform prior."""
    reward_std: float = 1.0
    """Standard deviation of the rewards of a gaussian arm."""
    prior_std: float = 10.0
    """Prior standard deviation of the mean of a gaussian arm, around 0."""

    def __post_init__(self) -> None:
        if self.posterior not in ("gaussian", "beta"):
            raise ValueError(f"posterior must be gaussian or beta, got {self.posterior!r}")
        for name in ("reward_std", "prior_std"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")


class BanditAgent(Predicts, HostAgent, ABC):
    """Base of bandit agents: pulls and rewards of each arm, summed over all rows."""

    config: UCBConfig | ThompsonConfig
    defaults: ClassVar[UCBConfig | ThompsonConfig]

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        if not isinstance(action_space, gym.spaces.Discrete):
            raise ValueError(f"a bandit agent needs Discrete actions, got {type(action_space).__name__}")
        single = isinstance(observation_space, gym.spaces.Discrete) and States(observation_space).size == 1
        if not single:
            raise ValueError("a bandit agent needs an environment with one state, such as gymnast/Bandit-v0")
        self.config = self.defaults if config is None else config
        self.observation_space: gym.Space[Any] = observation_space
        self.action_space: gym.Space[Any] = action_space
        self.device = torch.device(device)
        self.first_action = int(action_space.start)
        self.counts = np.zeros((1, int(action_space.n)), np.int64)  # one state, like the tables of other agents
        self.sums = np.zeros(int(action_space.n))
        self.env_step = 0
        self.updates = 0

    @abstractmethod
    def choose(self, rng: np.random.Generator) -> int:
        """An arm, counted from 0."""

    @property
    def pulls(self) -> np.ndarray:
        """Pulls of each arm in training, int64 [A]."""
        return np.asarray(self.counts[0])

    def means(self) -> np.ndarray:
        """Mean reward of each arm so far, 0 for an arm never pulled, float64 [A]."""
        return np.asarray(self.sums / np.maximum(self.pulls, 1))

    def q_table(self) -> np.ndarray:
        """Mean rewards as the Q-values of the only state, float64 [1, A]."""
        return np.asarray(self.means()[None])

    def greedy_policy(self) -> GreedyTable:
        """The arm with the best mean reward as a module; see `ExportableAgent`."""
        return GreedyTable(States(self.observation_space), self.q_table(), first_action=self.first_action)

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> BanditActor:
        return BanditActor(self, num_envs, explore=explore, seed=seed)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        """Learn: a bandit's update is an addition."""
        arms = acted.action.cpu().numpy() - self.first_action
        rewards = step.reward.cpu().numpy().astype(np.float64)
        if step.active is not None:
            active = step.active.cpu().numpy()
            arms, rewards = arms[active], rewards[active]
        np.add.at(self.pulls, arms, 1)
        np.add.at(self.sums, arms, rewards)
        self.env_step += step.num_active
        self.updates += 1

    def updates_due(self, env_step: int) -> int:
        return 0

    def learn(self) -> Metrics:
        """No-op: `store` has done everything."""
        return {}

    def scheduled(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "pulls": torch.from_numpy(self.pulls.copy()),
            "sums": torch.from_numpy(self.sums.copy()),
            "env_step": self.env_step,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["pulls"].shape != self.pulls.shape:
            raise ValueError(f"the checkpoint has {len(state['pulls'])} arms, this agent has {len(self.pulls)}")
        self.pulls[...] = state["pulls"].numpy()
        self.sums[...] = state["sums"].numpy()
        self.env_step, self.updates = state["env_step"], state["updates"]


class BanditActor:
    """Pulls arms; without exploration, the arm with the best mean reward."""

    def __init__(self, agent: BanditAgent, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> None:
        self.agent = agent
        self.num_envs = num_envs
        self.explore = explore
        self.rng = np.random.default_rng(seed)

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        best = int(agent.means().argmax())
        arms = [agent.choose(self.rng) if self.explore else best for _ in range(self.num_envs)]
        return Acted(torch.tensor(arms, dtype=torch.int64, device=agent.device) + agent.first_action)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


class UCB(BanditAgent):
    """Pulls the arm with the largest mean + c * sqrt(ln t / n); arms not yet pulled come first (UCB1)."""

    config: UCBConfig
    defaults = UCBConfig()

    def choose(self, rng: np.random.Generator) -> int:
        """The arm with the highest bound; ties are broken at random."""
        total = max(int(self.pulls.sum()), 1)
        bounds = self.means() + self.config.c * np.sqrt(math.log(total) / np.maximum(self.pulls, 1))
        bounds = np.where(self.pulls == 0, np.inf, bounds)
        return int(rng.choice(np.flatnonzero(bounds == bounds.max())))


class Thompson(BanditAgent):
    """Pulls the arm that is best in one draw from the posterior (Russo et al. 2018, algorithms 3.2 and 6)."""

    config: ThompsonConfig
    defaults = ThompsonConfig()

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        if self.config.posterior == "beta" and bool(((step.reward != 0.0) & (step.reward != 1.0)).any()):
            raise LearningError("posterior beta takes only rewards 0 and 1; use gaussian")
        super().store(obs, acted, step)

    def choose(self, rng: np.random.Generator) -> int:
        """The best arm of a draw."""
        config = self.config
        if config.posterior == "beta":
            return int(rng.beta(1.0 + self.sums, 1.0 + self.pulls - self.sums).argmax())
        precision = 1.0 / config.prior_std**2 + self.pulls / config.reward_std**2
        mean = self.sums / config.reward_std**2 / precision
        return int(rng.normal(mean, 1.0 / np.sqrt(precision)).argmax())
