"""Every agent by its name: the classes, and the algorithms that are settings of one. None of them is imported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    import gymnasium as gym
    import numpy as np
    import torch

    from gymnast.networks.build import Backbone

A = TypeVar("A")


class AgentEntry(NamedTuple):
    """Location and description of an agent's class."""

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
    "dyna-q": AgentEntry(
        "gymnast.agents.tabular.dyna:DynaQ", "Q-learning that also learns from a learned model (Dyna-Q, Dyna-Q+)"
    ),
    "prioritized-sweeping": AgentEntry(
        "gymnast.agents.tabular.dyna:PrioritizedSweeping", "backups from a learned model, the largest change first"
    ),
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
    "dreamer": AgentEntry(
        "gymnast.agents.world_models.dreamer:Dreamer",
        "DreamerV3: actor-critic in the imagination of a learned latent model (Hafner et al. 2023)",
    ),
    "iris": AgentEntry(
        "gymnast.agents.world_models.iris:Iris",
        "actor-critic in the imagination of a transformer over codes of frames (Micheli et al. 2023)",
    ),
    "ppo": AgentEntry(
        "gymnast.agents.policy.actor_critic:ActorCritic", "proximal policy optimisation (Schulman et al. 2017)"
    ),
    "sac": AgentEntry(
        "gymnast.agents.off_policy.off_policy:OffPolicyActorCritic",
        "soft actor-critic: entropy-regularised, from a replay (Haarnoja et al. 2018)",
    ),
    "world-models": AgentEntry(
        "gymnast.agents.world_models.world_models:WorldModels",
        "a controller evolved in the dream of a learned model (Ha & Schmidhuber 2018)",
    ),
}
"""Every class of agents by its name on the command line.

`gymnast.agents.Class` and `gymnast.agents.ClassConfig` are looked up here on first use.
"""


class Algorithm(NamedTuple):
    """Changes of an algorithm to the config of its base, for any environment."""

    help: str
    changes: dict[str, Any]
    base: str = "dqn"
    """The algorithm whose plain config it changes; its own name if it changes nothing."""
    run: Mapping[str, Any] = MappingProxyType({})
    """Changes to the run's options that it needs to make sense."""


RAINBOW = {
    "double": True,
    "dueling": True,
    "prioritized": True,
    "priority_alpha": 0.5,
    "noisy": True,
    "n_step": 3,
    "values": "categorical",
}
"""Hessel et al. 2018, table 1: the settings that do not depend on the environment."""

R2D2 = {
    "recurrent": "lstm",
    "double": True,
    "dueling": True,
    "prioritized": True,
    "priority_alpha": 0.9,
    "priority_beta": 0.6,
    "n_step": 5,
    "values": "rescaled",
    "train_period": 16,
}
"""Kapturowski et al. 2019, section 2.3 and appendix; a batch of sequences has many transitions, so fewer updates."""

A2C = {
    "policy_loss": "plain",
    "rollout_steps": 5,
    "epochs": 1,
    "minibatches": 1,
    "gae_lambda": 1.0,
    "normalise_advantages": False,
    "learning_rate": 7e-4,
    "optimizer": "a3c-rmsprop",
    "entropy_coef": 0.01,
}
"""Mnih et al. 2016, algorithm S3 and section 8; the step size is that of the synchronous form (Wu et al. 2017)."""

TRUST_REGION = {"epochs": 10, "minibatches": 8, "learning_rate": 1e-3}
"""Of the values of NPG and TRPO, which are fitted to each rollout after the policy's step."""

DDPG = {
    "policy": "deterministic",
    "critics": 1,
    "policy_value": "first",
    "exploration": "ornstein-uhlenbeck",
    "exploration_noise": 0.2,
    "learning_rate": 1e-3,
    "policy_learning_rate": 1e-4,
    "tau": 0.001,
    "batch_size": 64,
    "hidden_sizes": (400, 300),
}
"""Lillicrap et al. 2016, section 7."""

TD3 = {
    "policy": "deterministic",
    "policy_value": "first",
    "target_noise": 0.2,
    "policy_period": 2,
    "target_period": 2,
}
"""Fujimoto et al. 2018, algorithm 1; step sizes, layers and batches are those of the code that its authors keep."""

TQC = {
    "values": "quantile",
    "policy_value": "mean",
    "critics": 5,
    "hidden_sizes": (512, 512, 512),
    "policy_hidden_sizes": (256, 256),
}
"""Kuznetsov et al. 2020, table 3."""

CROSSQ = {
    "target_network": False,
    "critic_norm": "batch-renorm",
    "policy_norm": "batch-renorm",
    "policy_period": 3,
    "learning_rate": 1e-3,
    "optimizer_beta1": 0.5,
    "hidden_sizes": (2048, 2048),
    "policy_hidden_sizes": (256, 256),
}
"""Bhatt et al. 2024, table 2."""

REDQ = {"critics": 10, "target_subset": 2, "policy_value": "mean", "updates_per_train": 20, "policy_period": 20}
"""Chen et al. 2021, algorithm 1."""

DROQ = {
    "critic_norm": "layer",
    "dropout": 0.01,
    "policy_value": "mean",
    "updates_per_train": 20,
    "policy_period": 20,
}
"""Hiraoka et al. 2022, algorithm 2."""

BTR = {
    "munchausen": True,
    "dueling": True,
    "prioritized": True,
    "priority_alpha": 0.2,
    "noisy": True,
    "n_step": 3,
    "values": "implicit",
    "quantiles": 8,
}
"""Clark et al. 2025, tables 1 and D6: the parts that do not depend on the environment; the network is in a preset."""

SPR = RAINBOW | {
    "n_step": 10,
    "auxiliary": "self-prediction",
    "auxiliary_weight": 2.0,
    "train_period": 1,
    "updates_per_train": 2,
    "target_period": 0,
}
"""Schwarzer et al. 2021, table of hyperparameters: Rainbow whose features predict themselves; an update has a target of
its own."""

SR_SPR = SPR | {
    "noisy": False,
    "priority_beta": 0.5,
    "auxiliary_weight": 5.0,
    "prediction_momentum": 0.995,
    "updates_per_train": 16,
    "reset_period": 2_500,
    "reset_keep": 0.8,
    "tau": 0.005,
    "act_by_target": True,
    "max_grad_norm": None,
}
"""D'Oro et al. 2023, with 16 updates per env step and resets every 40,000 of them, as in the code of Schwarzer et al.
2023, which leaves out noisy layers."""

BBF = SR_SPR | {
    "updates_per_train": 8,
    "reset_period": 5_000,
    "reset_keep": 0.5,
    "gamma": 0.97,
    "final_n_step": 3,
    "final_gamma": 0.997,
    "anneal_steps": 1_250,
    "weight_decay": 0.1,
}
"""Schwarzer et al. 2023: 8 updates per env step, resets every 40,000 updates, horizons that move in 10,000 of them."""

ALGORITHMS: dict[str, Algorithm] = {
    "dqn": Algorithm(CLASSES["dqn"].help, {}),
    "double-dqn": Algorithm("DQN with double Q-learning (van Hasselt et al. 2016)", {"double": True}),
    "tuned-double-dqn": Algorithm(
        "double DQN with one bias for all actions, tuned on Atari (van Hasselt et al. 2016)",
        {"double": True, "shared_bias": True},
    ),
    "dueling-dqn": Algorithm(
        "double DQN with separate value and advantage streams (Wang et al. 2016)", {"double": True, "dueling": True}
    ),
    "per": Algorithm(
        "double DQN with proportional prioritized replay (Schaul et al. 2016)", {"double": True, "prioritized": True}
    ),
    "rank-per": Algorithm(
        "double DQN with rank-based prioritized replay (Schaul et al. 2016)",
        {"double": True, "prioritized": True, "priority": "rank", "priority_alpha": 0.7},
    ),
    "noisy-dqn": Algorithm("DQN that explores with noisy layers (Fortunato et al. 2018)", {"noisy": True}),
    "n-step-dqn": Algorithm("DQN with three-step targets", {"n_step": 3}),
    "c51": Algorithm("DQN with a distribution over 51 returns (Bellemare et al. 2017)", {"values": "categorical"}),
    "qr-dqn": Algorithm("DQN with 200 quantiles of the return (Dabney et al. 2018)", {"values": "quantile"}),
    "iqn": Algorithm(
        "DQN with quantiles at random fractions (Dabney et al. 2018b)", {"values": "implicit", "quantiles": 64}
    ),
    "rainbow": Algorithm("DQN with double, dueling, prioritized, noisy, 3-step and C51 (Hessel et al. 2018)", RAINBOW),
    "der": Algorithm(
        "data-efficient Rainbow: more updates, 20-step targets (van Hasselt et al. 2019)",
        RAINBOW | {"n_step": 20, "noisy_sigma": 0.1},
    ),
    "spr": Algorithm("Rainbow whose features predict those of the next five steps (Schwarzer et al. 2021)", SPR),
    "sr-spr": Algorithm("SPR with 16 updates per step and periodic resets (D'Oro et al. 2023)", SR_SPR),
    "bbf": Algorithm(
        "bigger, better, faster: SR-SPR with annealed horizons and weight decay (Schwarzer et al. 2023)", BBF
    ),
    "btr": Algorithm(
        "Beyond the Rainbow: IQN, Munchausen, dueling, prioritized, noisy, 3-step (Clark et al. 2025)", BTR
    ),
    "bootstrapped-dqn": Algorithm(
        "double DQN with ten heads that explore in turn, and randomised priors (Osband et al. 2016, 2018)",
        {"double": True, "bootstrap_heads": 10, "prior_scale": 3.0, "epsilon": 0.0},
    ),
    "r2d2": Algorithm("recurrent DQN: LSTM, sequences with burn-in and stored state (Kapturowski et al. 2019)", R2D2),
    "pqn": Algorithm(CLASSES["pqn"].help, {}, "pqn", {"num_envs": 32}),
    "ppo": Algorithm(CLASSES["ppo"].help, {}, "ppo", {"num_envs": 8}),
    "a2c": Algorithm("synchronous advantage actor-critic (Mnih et al. 2016)", A2C, "ppo", {"num_envs": 8}),
    "a3c": Algorithm(
        "asynchronous advantage actor-critic: processes with shared weights (Mnih et al. 2016)",
        A2C | {"workers": 4, "max_grad_norm": 40.0},
        "ppo",
    ),
    "npg": Algorithm(
        "natural policy gradient with normalised steps (Kakade 2001; Rajeswaran et al. 2017)",
        {"policy_loss": "natural", **TRUST_REGION},
        "ppo",
        {"num_envs": 8},
    ),
    "trpo": Algorithm(
        "trust region policy optimisation (Schulman et al. 2015)",
        {"policy_loss": "trust-region", **TRUST_REGION},
        "ppo",
        {"num_envs": 8},
    ),
    "sac": Algorithm(CLASSES["sac"].help, {}, "sac"),
    "ddpg": Algorithm("deep deterministic policy gradient (Lillicrap et al. 2016)", DDPG, "sac"),
    "td3": Algorithm(
        "DDPG with two critics, smoothed targets and a policy that follows later (Fujimoto et al. 2018)", TD3, "sac"
    ),
    "tqc": Algorithm("SAC with truncated quantiles of five critics (Kuznetsov et al. 2020)", TQC, "sac"),
    "crossq": Algorithm("SAC with batch renormalisation in place of targets (Bhatt et al. 2024)", CROSSQ, "sac"),
    "redq": Algorithm("SAC with ten critics and 20 updates per env step (Chen et al. 2021)", REDQ, "sac"),
    "droq": Algorithm("SAC with dropout in two critics and 20 updates per env step (Hiraoka et al. 2022)", DROQ, "sac"),
}

ACRONYMS = (
    "dqn",
    "pqn",
    "per",
    "c51",
    "qr",
    "iqn",
    "der",
    "btr",
    "spr",
    "sr",
    "bbf",
    "r2d2",
    "ppo",
    "a2c",
    "a3c",
    "npg",
    "trpo",
    "es",
    "ga",
    "td",
    "ucb",
    "ddpg",
    "td3",
    "sac",
    "tqc",
    "redq",
)

SPELLED = {"crossq": "CrossQ", "droq": "DroQ"}
"""Names that are spelled in their own way."""


def python_name(name: str) -> str:
    """The name of an agent in `gymnast.agents`: `n-step-dqn` is NStepDQN."""
    own = SPELLED.get(name)
    return own or "".join(word.upper() if word in ACRONYMS else word.capitalize() for word in name.split("-"))


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
