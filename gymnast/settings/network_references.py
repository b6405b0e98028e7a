"""References of agents with networks, and of policy search."""

from __future__ import annotations

from typing import Any

from gymnast.settings.reference import MAXIMUM, Reference

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
NOISY = {"noisy_epsilon": "linear:1:0:2500"}
"""With noise alone an agent may never see how a ball that it misses is caught."""
MANY_UPDATES = {"train_period": 1, "updates_per_train": 2, "target_period": 0, "n_step": 5, "tau": 0.02}
"""Fewer than the papers', and a target network that follows accordingly."""
CATCHING: dict[str, dict[str, Any]] = {
    "double-dqn": {},
    "tuned-double-dqn": {},
    "dueling-dqn": {},
    "per": {},
    "rank-per": {},
    "noisy-dqn": NOISY,
    "n-step-dqn": {},
    "c51": CATEGORICAL,
    "qr-dqn": {"quantiles": 8},
    "iqn": {"quantiles": 8},
    "rainbow": CATEGORICAL | NOISY,
    "der": CATEGORICAL | NOISY,
    "btr": NOISY,
    "spr": CATEGORICAL | NOISY | {"target_period": 0, "n_step": 5},
    "sr-spr": CATEGORICAL | MANY_UPDATES,
    "bbf": CATEGORICAL | MANY_UPDATES | {"anneal_steps": 500},
}
"""What each variant changes beside `CATCH`."""

PENDULUM = {
    "sac": (-157.0, "RL Zoo, 20k"),
    "ddpg": (-152.1, "RL Zoo, 20k"),
    "td3": (-151.9, "RL Zoo, 20k"),
    **dict.fromkeys(("tqc", "crossq", "redq", "droq"), (-157.0, "RL Zoo's SAC, 20k")),
}
"""Off-policy agents and the figure to compare with."""
NETWORKS: dict[str, Reference] = {
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
    **{
        f"{agent}-pendulum": Reference(
            "continuous actions, from a replay", agent, "Pendulum-v1", figure, source, presets=("pendulum",)
        )
        for agent, (figure, source) in PENDULUM.items()
    },
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
    "ppo-pong": Reference(
        "an Atari game within an hour of two cores",
        "ppo",
        "PongNoFrameskip-v4",
        20.7,
        "Schulman et al. 2017, 10M",
        presets=("atari",),
        options={
            "bf16": True,
            "steps": 2_200_000,
            "learning_rate": "linear:5e-4:1e-4:2200000",
            "clip": 0.1,
            "eval_every": 100_000,
            "stop_return": 18.5,
        },
        episodes=10,
    ),
    "a2c-cartpole": Reference("eight environments", "a2c", "CartPole-v1", 500.0, "RL Zoo, 500k", presets=("cartpole",)),
    "a3c-cartpole": Reference("four processes", "a3c", "CartPole-v1", 500.0, MAXIMUM, presets=("cartpole",)),
    "npg-cartpole": Reference("one step for each rollout", "npg", "CartPole-v1", 500.0, MAXIMUM, presets=("cartpole",)),
    "trpo-cartpole": Reference(
        "one step for each rollout", "trpo", "CartPole-v1", 500.0, "RL Zoo, 100k", presets=("cartpole",)
    ),
    "ppo-hopper": Reference(
        "a robot that learns to hop", "ppo", "Hopper-v5", 2410.4, "RL Zoo, Hopper-v3, 1M", presets=("mujoco",)
    ),
    "trpo-pendulum": Reference(
        "continuous actions", "trpo", "Pendulum-v1", -174.6, "RL Zoo, 100k", presets=("pendulum",)
    ),
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
