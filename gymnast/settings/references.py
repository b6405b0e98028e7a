"""References: each agent on a ground where it learns, with settings that do, and the return to compare with.

`gymnast train AGENT --reference NAME` repeats a row; `benchmarks/learning.py --all` runs every row and makes the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gymnast.errors import UsageError, nearest
from gymnast.settings import presets

Measure = Literal["return", "length", "value error"]
MAXIMUM, OPTIMUM, SHORTEST = "maximum", "optimum", "shortest path"


@dataclass(frozen=True)
class Reference:
    """A run of an agent, and what it is compared with."""

    help: str
    agent: str
    env: str
    published: float
    """The published, best possible or exact value of the measure."""
    source: str
    """Where it is from: a paper, a book, RL Zoo with its env steps, or how it is known."""
    presets: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the run and of the agent, by field; they take precedence over the presets."""
    episodes: int = 100
    """Episodes of each evaluation."""
    measure: Measure = "return"
    """What is compared: the final evaluation's mean return or episode length, or the largest error of a state's value,
    against the exact one."""

    @property
    def values(self) -> dict[str, Any]:
        """Every field of run and config that the reference sets."""
        own = {"env": self.env, "eval_episodes": self.episodes, **self.options}
        return presets.over(presets.apply(self.presets, self.agent), own)

    @property
    def steps(self) -> int | None:
        """Env steps at most; None for agents that plan without any."""
        steps: int | None = self.values.get("steps")
        return steps

    @property
    def goal(self) -> str:
        """The value to compare with, and its source."""
        measure = "" if self.measure == "return" else f"{self.measure} "
        return f"{measure}{self.published:g} ({self.source})"


ONE_EVALUATION = {"eval_every": 0}
"""Chance decides which of several evaluations of policies that are equally good is the best."""
MAZE = {"gamma": 0.95, "planning_steps": 5, "steps": 5_000}
"""Sutton & Barto 2018, figure 8.2."""
DEEP_SEA: dict[str, Any] = {
    "env_options": '{"size": 10, "randomise": true}',
    "steps": 5_000,
    "eval_every": 500,
    "hidden_sizes": (50, 50),
    "learning_rate": 1e-3,
    "batch_size": 64,
    "learning_starts": 64,
    "train_period": 2,
    "target_period": 40,
}
CATCH: dict[str, Any] = {
    "num_envs": 2,
    "steps": 10_000,
    "eval_every": 1_000,
    "stop_return": 1.0,
    "hidden_sizes": (32, 32),
    "batch_size": 32,
    "replay_size": 5_000,
    "learning_starts": 200,
    "train_period": 2,
    "target_period": 100,
    "learning_rate": 2e-3,
    "epsilon": "linear:1:0.1:2500",
}
"""Settings of DQN that suit all its variants, whose updates are small."""
CATEGORICAL: dict[str, Any] = {"atoms": 21, "v_min": -1.2, "v_max": 1.2}
CATCHING: dict[str, dict[str, Any]] = {
    "double-dqn": {},
    "tuned-double-dqn": {},
    "dueling-dqn": {},
    "per": {},
    "rank-per": {},
    "noisy-dqn": {},
    "n-step-dqn": {},
    "c51": CATEGORICAL,
    "qr-dqn": {"quantiles": 8},
    "iqn": {"quantiles": 8},
    "rainbow": CATEGORICAL,
    "der": CATEGORICAL,
    "btr": {},
}
"""What each variant changes beside `CATCH`."""

REFERENCES: dict[str, Reference] = {
    "q-learning-taxi": Reference(
        "the exact optimum in a table",
        "q-learning",
        "Taxi-v4",
        7.93,
        OPTIMUM,
        presets=("taxi",),
        options=ONE_EVALUATION,
        episodes=1_000,
    ),
    "q-learning-cliffwalking": Reference(
        "along the cliff", "q-learning", "CliffWalking-v1", -13.0, OPTIMUM, presets=("cliffwalking",), episodes=10
    ),
    "sarsa-cliffwalking": Reference(
        "the safe path, as far from the cliff as there is",
        "sarsa",
        "CliffWalking-v1",
        -17.0,
        "safe path, Sutton & Barto 2018",
        presets=("cliffwalking",),
        episodes=10,
    ),
    "expected-sarsa-taxi": Reference(
        "the exact optimum in a table",
        "expected-sarsa",
        "Taxi-v4",
        7.93,
        OPTIMUM,
        presets=("taxi",),
        options=ONE_EVALUATION,
        episodes=1_000,
    ),
    "double-q-learning-frozenlake": Reference(
        "chance of success on slippery ice",
        "double-q-learning",
        "FrozenLake-v1",
        0.7402,
        OPTIMUM,
        presets=("frozenlake",),
        options=ONE_EVALUATION,
        episodes=1_000,
    ),
    "n-step-sarsa-chain": Reference(
        "the far end of a chain instead of the near one",
        "n-step-sarsa",
        "gymnast/Chain-v0",
        1.0,
        OPTIMUM,
        options={"n_step": 3, "epsilon": "linear:1:0.1:10000", "steps": 20_000},
        episodes=10,
    ),
    "dyna-q-maze": Reference(
        "steps to the goal of a maze",
        "dyna-q",
        "gymnast/DynaMaze-v0",
        14.0,
        SHORTEST,
        options=MAZE | {"alpha": 0.1},
        episodes=10,
        measure="length",
    ),
    "prioritized-sweeping-maze": Reference(
        "steps to the goal of a maze",
        "prioritized-sweeping",
        "gymnast/DynaMaze-v0",
        14.0,
        SHORTEST,
        options=MAZE,
        episodes=10,
        measure="length",
    ),
    "td-frozenlake": Reference(
        "values of the uniform policy",
        "td",
        "FrozenLake-v1",
        0.0,
        "exact",
        options={"alpha": "linear:0.1:0.0005:3000000", "gamma": 0.9, "steps": 3_000_000, "log_every": 100_000},
        measure="value error",
    ),
    "value-iteration-frozenlake": Reference(
        "chance of success on slippery ice", "value-iteration", "FrozenLake-v1", 0.7402, OPTIMUM, episodes=1_000
    ),
    "policy-iteration-frozenlake": Reference(
        "chance of success on slippery ice", "policy-iteration", "FrozenLake-v1", 0.7402, OPTIMUM, episodes=1_000
    ),
    "ucb-bandit": Reference(
        "the best of ten arms", "ucb", "gymnast/Bandit-v0", 1_304.0, "mean of the best arm", options={"steps": 10_000}
    ),
    "thompson-bandit": Reference(
        "the best of ten arms",
        "thompson",
        "gymnast/Bandit-v0",
        1_304.0,
        "mean of the best arm",
        options={"steps": 10_000},
    ),
    "reinforce-cartpole": Reference(
        "whole episodes", "reinforce", "CartPole-v1", 500.0, MAXIMUM, presets=("cartpole",)
    ),
    **{
        f"{agent}-cartpole": Reference("policy search", agent, "CartPole-v1", 500.0, MAXIMUM, presets=("classic",))
        for agent in ("hill-climbing", "ga", "es")
    },
    "ppo-cartpole": Reference("eight environments", "ppo", "CartPole-v1", 500.0, "RL Zoo, 100k", presets=("cartpole",)),
    "ppo-acrobot": Reference("swing up", "ppo", "Acrobot-v1", -73.5, "RL Zoo, 1M", presets=("acrobot",)),
    "ppo-pendulum": Reference(
        "continuous actions", "ppo", "Pendulum-v1", -172.2, "RL Zoo, 100k", presets=("pendulum",)
    ),
    "ppo-mountaincar": Reference(
        "explored by novelty", "ppo", "MountainCar-v0", -110.4, "RL Zoo, 1M", presets=("mountaincar",)
    ),
    "ppo-mountaincar-continuous": Reference(
        "continuous actions, explored by counts of visits",
        "ppo",
        "MountainCarContinuous-v0",
        88.3,
        "RL Zoo, 20k",
        presets=("mountaincar-continuous",),
    ),
    "a2c-cartpole": Reference("eight environments", "a2c", "CartPole-v1", 500.0, "RL Zoo, 500k", presets=("cartpole",)),
    "a3c-cartpole": Reference("four processes", "a3c", "CartPole-v1", 500.0, MAXIMUM, presets=("cartpole",)),
    "pqn-cartpole": Reference("no replay", "pqn", "CartPole-v1", 500.0, MAXIMUM, presets=("cartpole",)),
    "dqn-cartpole": Reference("until it is solved", "dqn", "CartPole-v1", 500.0, MAXIMUM, presets=("cartpole",)),
    **{
        f"{agent}-catch": Reference(
            "until every ball is caught", agent, "gymnast/Catch-v0", 1.0, MAXIMUM, options=CATCH | options
        )
        for agent, options in CATCHING.items()
    },
    "bootstrapped-dqn-deepsea": Reference(
        "a treasure that random actions do not find",
        "bootstrapped-dqn",
        "gymnast/DeepSea-v0",
        0.99,
        MAXIMUM,
        options=DEEP_SEA,
        episodes=10,
    ),
    "r2d2-memory": Reference(
        "a cue to remember for ten steps",
        "r2d2",
        "gymnast/Memory-v0",
        1.0,
        MAXIMUM,
        options={"num_envs": 8, "steps": 20_000, "epsilon": "linear:1:0.05:5000", "eval_every": 5_000},
    ),
    "dreamer-catch": Reference(
        "from pixels",
        "dreamer",
        "gymnast/Catch-v0",
        1.0,
        MAXIMUM,
        presets=("small",),
        options={"stop_return": 0.97},
    ),
    "iris-catch": Reference(
        "from pixels", "iris", "gymnast/Catch-v0", 1.0, MAXIMUM, presets=("small",), options={"stop_return": 0.97}
    ),
    "world-models-cartpole": Reference(
        "a controller evolved in a dream",
        "world-models",
        "CartPole-v1",
        500.0,
        MAXIMUM,
        options={"steps": 9_000},
    ),
}


def find(name: str, agent: str | None = None) -> Reference:
    """A reference by its name, of an agent if one is given; UsageError for an unknown one or another agent's."""
    if name not in REFERENCES:
        own = [known for known, row in REFERENCES.items() if agent in (None, row.agent)]
        raise UsageError(
            f"unknown reference {name!r}; choose from {', '.join(own or REFERENCES)}{nearest(name, REFERENCES)}"
        )
    row = REFERENCES[name]
    if agent not in (None, row.agent):
        raise UsageError(f"the reference {name} is for {row.agent}, not for {agent}")
    return row
