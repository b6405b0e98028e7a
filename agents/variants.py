"""Algorithms that are settings of another agent, as constructors with their defaults: `Rainbow(spaces…)` is a DQN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.search.evolution import EvolutionStrategies, GeneticAlgorithm
from gymnast.agents.table import ALGORITHMS, python_name
from gymnast.agents.value.dqn import DQN
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.networks.build import Backbone

A = TypeVar("A")


class Variant(Generic[A]):
    """Builds an agent as its class does, but without a config with the defaults of one algorithm.

    The defaults are those of `gymnast train NAME`. A config that is given is taken as it is; to change one field, give
    `dataclasses.replace(Variant.config, …)`.
    """

    def __init__(self, name: str, cls: Callable[..., A], config: type[Any]) -> None:
        self.name, self.cls = name, cls
        self.__name__ = self.__qualname__ = python_name(name)
        self.__doc__ = ALGORITHMS[name].help
        self.config: Any = config(**ALGORITHMS[name].changes)
        """The algorithm's defaults."""

    def __call__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> A:
        config = self.config if config is None else config
        return self.cls(
            observation_space,
            action_space,
            config,
            num_envs=num_envs,
            device=device,
            seed=seed,
            network=network,
        )

    def __repr__(self) -> str:
        return f"gymnast.agents.{self.__name__}"


PPO = ActorCritic
ES = EvolutionStrategies
GA = GeneticAlgorithm

DoubleDQN = Variant("double-dqn", DQN, DQNConfig)
DuelingDQN = Variant("dueling-dqn", DQN, DQNConfig)
PER = Variant("per", DQN, DQNConfig)
NoisyDQN = Variant("noisy-dqn", DQN, DQNConfig)
NStepDQN = Variant("n-step-dqn", DQN, DQNConfig)
C51 = Variant("c51", DQN, DQNConfig)
QRDQN = Variant("qr-dqn", DQN, DQNConfig)
IQN = Variant("iqn", DQN, DQNConfig)
Rainbow = Variant("rainbow", DQN, DQNConfig)
DER = Variant("der", DQN, DQNConfig)
R2D2 = Variant("r2d2", DQN, DQNConfig)
A2C = Variant("a2c", ActorCritic, ActorCriticConfig)
A3C = Variant("a3c", ActorCritic, ActorCriticConfig)
