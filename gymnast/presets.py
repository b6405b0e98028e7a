"""Presets: settings that go together, by name. `--preset A B` applies them from left to right, then explicit flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gymnast.errors import UsageError, nearest


@dataclass(frozen=True)
class Preset:
    """Changes to the options of a run and to the config of each agent that it fits."""

    help: str
    agent: dict[str, dict[str, Any]]
    """Changes to the config of each agent that the preset is for."""
    run: dict[str, Any] = field(default_factory=dict)
    """Changes to TrainOptions."""


CONTROL = ("q-learning", "sarsa", "expected-sarsa", "double-q-learning", "n-step-sarsa")

PRESETS: dict[str, Preset] = {
    "dqn": Preset("deep Q-network: the plain defaults, to be combined with a preset of an environment", {"dqn": {}}),
    "cartpole": Preset(
        "CartPole-v1 until it is solved (mean greedy return of 475 over 100 episodes) with a margin",
        {
            "dqn": {
                "batch_size": 64,
                "learning_rate": 1e-3,
                "train_period": 2,
                "target_period": 2,
                "tau": 0.01,
                "epsilon": "linear:1:0.05:5000",
                "replay_size": 50_000,
            }
        },
        run={"steps": 50_000, "eval_every": 2_500, "eval_episodes": 100, "stop_return": 490.0},
    ),
    "atari": Preset(
        "Atari games as in Mnih et al. 2015 (Nature), extended data table 1; 200 million frames, 8 GB of memory",
        {
            "dqn": {
                "backbone": "nature-cnn",
                "loss": "huber",
                "optimizer": "nature-rmsprop",
                "learning_rate": 2.5e-4,
                "max_grad_norm": None,
                "gamma": 0.99,
                "epsilon": "linear:1:0.1:1000000",
                "eval_epsilon": 0.05,
                "batch_size": 32,
                "replay_size": 1_000_000,
                "learning_starts": 50_000,
                "train_period": 4,
                "target_period": 10_000,
                "clip_rewards": True,
                "life_loss": True,
            }
        },
        run={"steps": 50_000_000, "eval_every": 250_000, "eval_episodes": 30, "checkpoint_every": 1_000_000},
    ),
    "frozenlake": Preset(
        "FrozenLake-v1, slippery: steps that shrink, and an exploration that ends",
        {agent: {"alpha": "inverse:0.5:20000", "epsilon": "linear:1:0.01:1500000"} for agent in CONTROL},
        run={"steps": 2_000_000, "eval_every": 200_000, "eval_episodes": 100, "log_every": 20_000},
    ),
    "taxi": Preset(
        "Taxi: steps that shrink slowly, and an exploration that ends",
        {agent: {"alpha": "inverse:0.5:100000", "epsilon": "linear:1:0.01:1500000"} for agent in CONTROL},
        run={"steps": 2_000_000, "eval_every": 200_000, "eval_episodes": 100, "log_every": 20_000},
    ),
    "cliffwalking": Preset(
        "CliffWalking-v1 as in Sutton & Barto 2018, example 6.6; steps shrink, so that SARSA settles on its path",
        {
            agent: {"gamma": 1.0, "epsilon": 0.1, "alpha": 0.5 if "q-learning" in agent else "inverse:0.5:20000"}
            for agent in CONTROL
        },
        run={"steps": 1_000_000, "eval_every": 100_000, "log_every": 10_000},
    ),
    "blackjack": Preset(
        "Blackjack-v1: undiscounted, and noisy, so steps that shrink",
        {agent: {"gamma": 1.0, "alpha": "inverse:0.1:50000", "epsilon": "linear:1:0.1:300000"} for agent in CONTROL},
        run={"steps": 500_000, "eval_every": 100_000, "eval_episodes": 10_000, "eval_envs": 16, "log_every": 5_000},
    ),
}


def apply(names: Sequence[str], agent: str) -> dict[str, Any]:
    """The fields that presets set for an agent, of run and config together; later presets override earlier ones.

    Raises UsageError for an unknown preset and for one that is not made for the agent.
    """
    values: dict[str, Any] = {}
    for name in names:
        if name not in PRESETS:
            raise UsageError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}{nearest(name, PRESETS)}")
        preset = PRESETS[name]
        if agent not in preset.agent:
            raise UsageError(f"the preset {name} is for {', '.join(preset.agent)}, not for {agent}")
        values |= preset.run | preset.agent[agent]
    return values
