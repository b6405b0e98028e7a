"""Agents: a small stateful class per family, and pure functions for the maths; imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gymnast.agents.policy.actor_critic import ActorCritic
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
    from gymnast.agents.policy.reinforce import Reinforce
    from gymnast.agents.policy.reinforce_config import ReinforceConfig
    from gymnast.agents.search.evolution import (
        EvolutionStrategies,
        EvolutionStrategiesConfig,
        GeneticAlgorithm,
        GeneticAlgorithmConfig,
    )
    from gymnast.agents.search.hill_climbing import HillClimbing, HillClimbingConfig
    from gymnast.agents.tabular.bandits import UCB, Thompson, ThompsonConfig, UCBConfig
    from gymnast.agents.tabular.learners import (
        TD,
        DoubleQLearning,
        DoubleQLearningConfig,
        ExpectedSarsa,
        ExpectedSarsaConfig,
        NStepSarsa,
        NStepSarsaConfig,
        QLearning,
        QLearningConfig,
        Sarsa,
        SarsaConfig,
        TDConfig,
    )
    from gymnast.agents.tabular.planning import (
        PolicyIteration,
        PolicyIterationConfig,
        ValueIteration,
        ValueIterationConfig,
    )
    from gymnast.agents.value.dqn import DQN
    from gymnast.agents.value.dqn_config import DQNConfig
    from gymnast.agents.value.pqn import PQN
    from gymnast.agents.value.pqn_config import PQNConfig

MODULES = {
    "value.dqn": ("DQN",),
    "policy.actor_critic": ("ActorCritic",),
    "value.pqn": ("PQN",),
    "policy.reinforce": ("Reinforce",),
    "tabular.learners": ("QLearning", "Sarsa", "ExpectedSarsa", "DoubleQLearning", "NStepSarsa", "TD"),
    "tabular.planning": ("ValueIteration", "PolicyIteration"),
    "tabular.bandits": ("UCB", "Thompson"),
    "search.hill_climbing": ("HillClimbing",),
    "search.evolution": ("GeneticAlgorithm", "EvolutionStrategies"),
}
_PATHS = {
    name: f"gymnast.agents.{module}"
    for module, agents in MODULES.items()
    for agent in agents
    for name in (agent, f"{agent}Config")
}

__all__ = [
    "DQN",
    "PQN",
    "TD",
    "UCB",
    "ActorCritic",
    "ActorCriticConfig",
    "DQNConfig",
    "DoubleQLearning",
    "DoubleQLearningConfig",
    "EvolutionStrategies",
    "EvolutionStrategiesConfig",
    "ExpectedSarsa",
    "ExpectedSarsaConfig",
    "GeneticAlgorithm",
    "GeneticAlgorithmConfig",
    "HillClimbing",
    "HillClimbingConfig",
    "NStepSarsa",
    "NStepSarsaConfig",
    "PQNConfig",
    "PolicyIteration",
    "PolicyIterationConfig",
    "QLearning",
    "QLearningConfig",
    "Reinforce",
    "ReinforceConfig",
    "Sarsa",
    "SarsaConfig",
    "TDConfig",
    "Thompson",
    "ThompsonConfig",
    "UCBConfig",
    "ValueIteration",
    "ValueIterationConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _PATHS:
        raise AttributeError(f"module 'gymnast.agents' has no attribute {name!r}")
    return getattr(importlib.import_module(_PATHS[name]), name)
