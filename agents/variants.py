"""Algorithms that are settings of another agent, as constructors with their defaults: `Rainbow(spaces…)` is a DQN."""

from __future__ import annotations

from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.off_policy import OffPolicyActorCritic
from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.search.evolution import EvolutionStrategies, GeneticAlgorithm
from gymnast.agents.table import Variant
from gymnast.agents.value.dqn import DQN
from gymnast.agents.value.dqn_config import DQNConfig

PPO = ActorCritic
ES = EvolutionStrategies
GA = GeneticAlgorithm
SAC = OffPolicyActorCritic

DoubleDQN = Variant("double-dqn", DQN, DQNConfig)
TunedDoubleDQN = Variant("tuned-double-dqn", DQN, DQNConfig)
DuelingDQN = Variant("dueling-dqn", DQN, DQNConfig)
PER = Variant("per", DQN, DQNConfig)
RankPER = Variant("rank-per", DQN, DQNConfig)
NoisyDQN = Variant("noisy-dqn", DQN, DQNConfig)
NStepDQN = Variant("n-step-dqn", DQN, DQNConfig)
C51 = Variant("c51", DQN, DQNConfig)
QRDQN = Variant("qr-dqn", DQN, DQNConfig)
IQN = Variant("iqn", DQN, DQNConfig)
Rainbow = Variant("rainbow", DQN, DQNConfig)
DER = Variant("der", DQN, DQNConfig)
SPR = Variant("spr", DQN, DQNConfig)
SRSPR = Variant("sr-spr", DQN, DQNConfig)
BBF = Variant("bbf", DQN, DQNConfig)
BTR = Variant("btr", DQN, DQNConfig)
BootstrappedDQN = Variant("bootstrapped-dqn", DQN, DQNConfig)
R2D2 = Variant("r2d2", DQN, DQNConfig)
A2C = Variant("a2c", ActorCritic, ActorCriticConfig)
A3C = Variant("a3c", ActorCritic, ActorCriticConfig)
NPG = Variant("npg", ActorCritic, ActorCriticConfig)
TRPO = Variant("trpo", ActorCritic, ActorCriticConfig)
DDPG = Variant("ddpg", OffPolicyActorCritic, OffPolicyActorCriticConfig)
TD3 = Variant("td3", OffPolicyActorCritic, OffPolicyActorCriticConfig)
TQC = Variant("tqc", OffPolicyActorCritic, OffPolicyActorCriticConfig)
CrossQ = Variant("crossq", OffPolicyActorCritic, OffPolicyActorCriticConfig)
REDQ = Variant("redq", OffPolicyActorCritic, OffPolicyActorCriticConfig)
DroQ = Variant("droq", OffPolicyActorCritic, OffPolicyActorCriticConfig)
