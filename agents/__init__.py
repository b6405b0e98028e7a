"""Agents: a small stateful class per family, and pure functions for the maths; imported on first use.

`gymnast list agents` gives names; each is here as a class or as a constructor with that algorithm's defaults.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gymnast.agents.table import ALGORITHMS, CLASSES, python_name

if TYPE_CHECKING:  # type checkers do not read the table; tests/test_public_names.py holds these names equal to it
    from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig as OffPolicyActorCriticConfig
    from gymnast.agents.off_policy.off_policy import OffPolicyActorCritic as OffPolicyActorCritic
    from gymnast.agents.policy.actor_critic import ActorCritic as ActorCritic
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig as ActorCriticConfig
    from gymnast.agents.policy.reinforce import Reinforce as Reinforce
    from gymnast.agents.policy.reinforce_config import ReinforceConfig as ReinforceConfig
    from gymnast.agents.prediction import Predictor as Predictor
    from gymnast.agents.prediction import predict as predict
    from gymnast.agents.search.evolution import EvolutionStrategies as EvolutionStrategies
    from gymnast.agents.search.evolution import EvolutionStrategiesConfig as EvolutionStrategiesConfig
    from gymnast.agents.search.evolution import GeneticAlgorithm as GeneticAlgorithm
    from gymnast.agents.search.evolution import GeneticAlgorithmConfig as GeneticAlgorithmConfig
    from gymnast.agents.search.hill_climbing import HillClimbing as HillClimbing
    from gymnast.agents.search.hill_climbing import HillClimbingConfig as HillClimbingConfig
    from gymnast.agents.tabular.bandits import UCB as UCB
    from gymnast.agents.tabular.bandits import Thompson as Thompson
    from gymnast.agents.tabular.bandits import ThompsonConfig as ThompsonConfig
    from gymnast.agents.tabular.bandits import UCBConfig as UCBConfig
    from gymnast.agents.tabular.dyna import DynaQ as DynaQ
    from gymnast.agents.tabular.dyna import DynaQConfig as DynaQConfig
    from gymnast.agents.tabular.dyna import PrioritizedSweeping as PrioritizedSweeping
    from gymnast.agents.tabular.dyna import PrioritizedSweepingConfig as PrioritizedSweepingConfig
    from gymnast.agents.tabular.learners import TD as TD
    from gymnast.agents.tabular.learners import DoubleQLearning as DoubleQLearning
    from gymnast.agents.tabular.learners import DoubleQLearningConfig as DoubleQLearningConfig
    from gymnast.agents.tabular.learners import ExpectedSarsa as ExpectedSarsa
    from gymnast.agents.tabular.learners import ExpectedSarsaConfig as ExpectedSarsaConfig
    from gymnast.agents.tabular.learners import NStepSarsa as NStepSarsa
    from gymnast.agents.tabular.learners import NStepSarsaConfig as NStepSarsaConfig
    from gymnast.agents.tabular.learners import QLearning as QLearning
    from gymnast.agents.tabular.learners import QLearningConfig as QLearningConfig
    from gymnast.agents.tabular.learners import Sarsa as Sarsa
    from gymnast.agents.tabular.learners import SarsaConfig as SarsaConfig
    from gymnast.agents.tabular.learners import TDConfig as TDConfig
    from gymnast.agents.tabular.planning import PolicyIteration as PolicyIteration
    from gymnast.agents.tabular.planning import PolicyIterationConfig as PolicyIterationConfig
    from gymnast.agents.tabular.planning import ValueIteration as ValueIteration
    from gymnast.agents.tabular.planning import ValueIterationConfig as ValueIterationConfig
    from gymnast.agents.value.dqn import DQN as DQN
    from gymnast.agents.value.dqn_config import DQNConfig as DQNConfig
    from gymnast.agents.value.pqn import PQN as PQN
    from gymnast.agents.value.pqn_config import PQNConfig as PQNConfig
    from gymnast.agents.variants import A2C as A2C
    from gymnast.agents.variants import A3C as A3C
    from gymnast.agents.variants import BBF as BBF
    from gymnast.agents.variants import BTR as BTR
    from gymnast.agents.variants import C51 as C51
    from gymnast.agents.variants import DDPG as DDPG
    from gymnast.agents.variants import DER as DER
    from gymnast.agents.variants import ES as ES
    from gymnast.agents.variants import GA as GA
    from gymnast.agents.variants import IQN as IQN
    from gymnast.agents.variants import NPG as NPG
    from gymnast.agents.variants import PER as PER
    from gymnast.agents.variants import PPO as PPO
    from gymnast.agents.variants import QRDQN as QRDQN
    from gymnast.agents.variants import R2D2 as R2D2
    from gymnast.agents.variants import REDQ as REDQ
    from gymnast.agents.variants import SAC as SAC
    from gymnast.agents.variants import SPR as SPR
    from gymnast.agents.variants import SRSPR as SRSPR
    from gymnast.agents.variants import TD3 as TD3
    from gymnast.agents.variants import TQC as TQC
    from gymnast.agents.variants import TRPO as TRPO
    from gymnast.agents.variants import BootstrappedDQN as BootstrappedDQN
    from gymnast.agents.variants import CrossQ as CrossQ
    from gymnast.agents.variants import DoubleDQN as DoubleDQN
    from gymnast.agents.variants import DroQ as DroQ
    from gymnast.agents.variants import DuelingDQN as DuelingDQN
    from gymnast.agents.variants import NoisyDQN as NoisyDQN
    from gymnast.agents.variants import NStepDQN as NStepDQN
    from gymnast.agents.variants import Rainbow as Rainbow
    from gymnast.agents.variants import RankPER as RankPER
    from gymnast.agents.variants import TunedDoubleDQN as TunedDoubleDQN
    from gymnast.agents.world_models.dreamer import Dreamer as Dreamer
    from gymnast.agents.world_models.dreamer_config import DreamerConfig as DreamerConfig
    from gymnast.agents.world_models.iris import Iris as Iris
    from gymnast.agents.world_models.iris_config import IrisConfig as IrisConfig
    from gymnast.agents.world_models.world_models import WorldModels as WorldModels
    from gymnast.agents.world_models.world_models_config import WorldModelsConfig as WorldModelsConfig


_MODULES = {
    name: module
    for module, _, agent in (entry.path.partition(":") for entry in CLASSES.values())
    for name in (agent, f"{agent}Config")
}
_MODULES |= {
    name: "gymnast.agents.variants" for name in map(python_name, (*CLASSES, *ALGORITHMS)) if name not in _MODULES
}
_MODULES |= {"Predictor": "gymnast.agents.prediction", "predict": "gymnast.agents.prediction"}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'gymnast.agents' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
