"""Agents: a small stateful class per family, and pure functions for the maths; imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # type checkers do not read `CLASSES`; tests/test_public_names.py holds these names equal to it
    from gymnast.agents.policy.actor_critic import ActorCritic as ActorCritic
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig as ActorCriticConfig
    from gymnast.agents.policy.reinforce import Reinforce as Reinforce
    from gymnast.agents.policy.reinforce_config import ReinforceConfig as ReinforceConfig
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


class AgentEntry(NamedTuple):
    """Where an agent's class is, and what it does."""

    path: str
    """`module:Class`; its config is `ClassConfig` in the same module."""
    help: str


CLASSES: dict[str, AgentEntry] = {
    "q-learning": AgentEntry("gymnast.agents.tabular.learners:QLearning", "Q-learning, off-policy control in a table"),
    "sarsa": AgentEntry("gymnast.agents.tabular.learners:Sarsa", "SARSA, on-policy control in a table"),
    "expected-sarsa": AgentEntry(
        "gymnast.agents.tabular.learners:ExpectedSarsa", "SARSA with the expectation over next actions"
    ),
    "double-q-learning": AgentEntry(
        "gymnast.agents.tabular.learners:DoubleQLearning",
        "Q-learning with two tables: one chooses, the other evaluates",
    ),
    "n-step-sarsa": AgentEntry("gymnast.agents.tabular.learners:NStepSarsa", "SARSA with n-step returns"),
    "td": AgentEntry("gymnast.agents.tabular.learners:TD", "TD prediction of the value of a fixed policy"),
    "value-iteration": AgentEntry(
        "gymnast.agents.tabular.planning:ValueIteration", "planning by value iteration on a known table"
    ),
    "policy-iteration": AgentEntry(
        "gymnast.agents.tabular.planning:PolicyIteration", "planning by policy iteration on a known table"
    ),
    "ucb": AgentEntry("gymnast.agents.tabular.bandits:UCB", "upper confidence bounds, for bandits"),
    "thompson": AgentEntry("gymnast.agents.tabular.bandits:Thompson", "Thompson sampling, for bandits"),
    "reinforce": AgentEntry(
        "gymnast.agents.policy.reinforce:Reinforce", "REINFORCE: policy gradient of whole episodes (Williams 1992)"
    ),
    "hill-climbing": AgentEntry(
        "gymnast.agents.search.hill_climbing:HillClimbing", "search by perturbing the best policy so far"
    ),
    "ga": AgentEntry("gymnast.agents.search.evolution:GeneticAlgorithm", "genetic algorithm (Such et al. 2017)"),
    "es": AgentEntry(
        "gymnast.agents.search.evolution:EvolutionStrategies", "evolution strategies (Salimans et al. 2017)"
    ),
    "dqn": AgentEntry("gymnast.agents.value.dqn:DQN", "deep Q-network (Mnih et al. 2015)"),
    "pqn": AgentEntry(
        "gymnast.agents.value.pqn:PQN",
        "parallelised Q-network: Q(lambda) without replay or target network (Gallici et al. 2024)",
    ),
    "ppo": AgentEntry(
        "gymnast.agents.policy.actor_critic:ActorCritic", "proximal policy optimisation (Schulman et al. 2017)"
    ),
}
"""Every agent of gymnast's own by its name on the command line; nothing of it is imported here.

`gymnast.agents.Class` and `gymnast.agents.ClassConfig` are looked up in it on first use.
"""

_MODULES = {
    name: module
    for module, _, agent in (entry.path.partition(":") for entry in CLASSES.values())
    for name in (agent, f"{agent}Config")
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'gymnast.agents' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
