"""Which population trains the agents of a config."""

from __future__ import annotations

from typing import Any

from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.population.actor_critic import ActorCriticPopulation
from gymnast.agents.population.dqn import DQNPopulation
from gymnast.agents.population.off_policy import OffPolicyPopulation
from gymnast.agents.population.pqn import PQNPopulation
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.pqn_config import PQNConfig

KINDS: dict[type[Any], type[Any]] = {
    ActorCriticConfig: ActorCriticPopulation,
    DQNConfig: DQNPopulation,
    PQNConfig: PQNPopulation,
    OffPolicyActorCriticConfig: OffPolicyPopulation,
}
"""Classes of populations by the class of their config."""
