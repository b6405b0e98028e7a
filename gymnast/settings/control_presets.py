"""Presets of classic control and Box2D."""

from __future__ import annotations

from typing import Any

NATURAL_CARTPOLE: dict[str, Any] = {
    "rollout_steps": 128,
    "gae_lambda": 0.95,
    "gamma": 0.99,
    "clip": 0.2,
    "steps": 50_000,
    "stop_return": 500.0,
}
"""One step of the policy for each rollout: longer rollouts than PPO's."""
CARTPOLE: dict[str, dict[str, Any]] = {
    "dqn": {
        "batch_size": 64,
        # With a constant step size and one-step targets greedy policies forget the task again and again; longer returns
        # need recent experience and little exploration.
        "learning_rate": "linear:1e-3:1e-5:50000",
        "n_step": 10,
        "train_period": 2,
        "target_period": 2,
        "tau": 0.01,
        "epsilon": "linear:1:0.02:5000",
        "replay_size": 10_000,
        "v_min": 0.0,
        "v_max": 100.0,
    },
    "ppo": {
        "rollout_steps": 32,
        "epochs": 20,
        "minibatches": 1,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "learning_rate": "linear:1e-3:0:100000",
        "clip": "linear:0.2:0:100000",
        "steps": 100_000,
    },
    "a2c": {"gae_lambda": 1.0, "gamma": 0.99, "steps": 300_000, "eval_every": 10_000}
    | {"learning_rate": "linear:2e-3:0:300000", "entropy_coef": 0.0},
    "a3c": {"gae_lambda": 1.0, "gamma": 0.99, "steps": 300_000, "eval_every": 10_000}
    | {"learning_rate": "linear:2e-3:0:300000", "entropy_coef": 0.0},
    **dict.fromkeys(("npg", "trpo"), NATURAL_CARTPOLE),
    "reinforce": {"num_envs": 8, "learning_rate": "linear:3e-3:3e-4:100000", "steps": 100_000},
    "pqn": {
        "rollout_steps": 32,
        "epochs": 8,
        "minibatches": 4,
        "td_lambda": 0.95,
        "learning_rate": "linear:1e-3:1e-4:100000",
        "hidden_sizes": (128, 128),
        "epsilon": "linear:1:0.2:20000",
        "reward_scale": 0.1,
        "steps": 150_000,
        "eval_every": 10_000,
        "eval_envs": 50,
        "stop_return": 495.0,
    },
    "dreamer": {
        "size": "1m",
        "num_envs": 4,
        "batch_size": 8,
        "sequence_length": 32,
        "learning_rate": 4e-4,
        "warmup": 100,
        "steps": 60_000,
        "eval_every": 5_000,
        "eval_envs": 50,
    },
}
CLASSIC: dict[str, dict[str, Any]] = {
    "dqn": {
        "batch_size": 64,
        "learning_rate": 1e-3,
        "train_period": 2,
        "target_period": 100,
        "epsilon": "linear:1:0.05:5000",
        "replay_size": 50_000,
        "v_min": -100.0,
        "v_max": 100.0,
        "atoms": 101,
        "noisy_sigma": 0.1,
        "noisy_epsilon": "linear:1:0:5000",  # with only small noise some seeds get stuck with one action
        "priority_beta": "linear:0.4:1:50000",
    },
    "qr-dqn": {"quantiles": 51},
    "iqn": {"quantiles": 16},
    "r2d2": {"batch_size": 32},
    "ppo": {"minibatches": 8, "learning_rate": 1e-3, "normalise_obs": True},
    "a2c": {"minibatches": 1, "learning_rate": 2e-3, "normalise_obs": True},
    "a3c": {"minibatches": 1, "learning_rate": 2e-3, "normalise_obs": False},
    "pqn": {
        "rollout_steps": 64,
        "epochs": 4,
        "minibatches": 16,
        "td_lambda": 0.95,
        "learning_rate": "linear:5e-4:0:500000",
        "epsilon": "linear:1:0.1:100000",
        "reward_scale": 0.1,
        "steps": 500_000,
        "eval_every": 25_000,
    },
    "hill-climbing": {},  # policy search: the defaults suit classic control
    "ga": {},
    "es": {},
}
ACROBOT: dict[str, dict[str, Any]] = {
    # As for CartPole: long returns and a decaying step size, so that the policy does not forget the way up.
    "dqn": {
        "batch_size": 64,
        "hidden_sizes": (64, 64),
        "learning_rate": "linear:1e-3:1e-5:50000",
        "n_step": 10,
        "train_period": 2,
        "target_period": 2,
        "tau": 0.01,
        "epsilon": "linear:1:0.02:5000",
        "replay_size": 10_000,
        "v_min": -100.0,
        "v_max": 0.0,
        "steps": 50_000,
        "eval_every": 2_500,
        "eval_episodes": 100,
    },
    "ppo": {
        "num_envs": 16,
        "rollout_steps": 128,
        "minibatches": 8,
        "gae_lambda": 0.94,
        "learning_rate": "linear:1e-3:0:300000",
        "normalise_obs": True,
    },
}
LUNARLANDER: dict[str, dict[str, Any]] = {
    "ppo": {
        "num_envs": 16,
        "rollout_steps": 512,
        "epochs": 10,
        "minibatches": 32,
        "gae_lambda": 0.98,
        "gamma": 0.999,
        "entropy_coef": 0.01,
        "learning_rate": "linear:1e-3:0:1000000",
        "normalise_obs": True,
        "normalise_rewards": True,
    },
}
NATURAL_PENDULUM: dict[str, Any] = {
    "rollout_steps": 512,
    "gamma": 0.95,
    "epochs": 15,
    "max_kl": 0.03,
    "cg_steps": 20,  # the more certain the policy, the worse conditioned is its Fisher matrix
    "normalise_rewards": True,
    "steps": 100_000,
    "eval_every": 10_000,
}
PENDULUM: dict[str, dict[str, Any]] = {
    # A learned temperature has to fall fast enough for 10,000 steps, as the policy has to follow.
    "sac": {"learning_rate": 1e-3, "steps": 10_000, "eval_every": 2_500, "eval_episodes": 100},
    # The paper's slow targets and policy need more steps than these.
    "ddpg": {"exploration": "normal", "exploration_noise": 0.1, "policy_learning_rate": 1e-3, "tau": 0.005}
    | {"batch_size": 256, "hidden_sizes": (256, 256)},
    "tqc": {"hidden_sizes": (256, 256)},
    "crossq": {"hidden_sizes": (256, 256), "norm_warm_up": 2_000},
    "redq": {"steps": 4_000, "eval_every": 1_000},
    "droq": {"steps": 4_000, "eval_every": 1_000},
    "ppo": {
        "num_envs": 4,
        "rollout_steps": 1024,
        "epochs": 10,
        "minibatches": 64,
        "gamma": 0.9,
        "learning_rate": "linear:1e-3:0:200000",
    },
    **dict.fromkeys(("npg", "trpo"), NATURAL_PENDULUM),
}
MOUNTAINCAR: dict[str, dict[str, Any]] = {
    # The reward carries no information until the agent reaches the top; novelty leads there.
    "ppo": {
        "num_envs": 16,
        "rollout_steps": 128,
        "minibatches": 8,
        "learning_rate": 1e-3,
        "normalise_obs": True,
        "normalise_rewards": True,
        "intrinsic": "rnd",
    },
}
MOUNTAINCAR_CONTINUOUS: dict[str, dict[str, Any]] = {
    "ppo": {
        "num_envs": 8,
        "rollout_steps": 256,
        "epochs": 10,
        "minibatches": 8,
        "gamma": 0.999,
        "normalise_obs": True,
        "normalise_rewards": True,
        "intrinsic": "counts",
        "intrinsic_coef": 0.5,
    },
}
MUJOCO: dict[str, dict[str, Any]] = {
    "ppo": {
        "num_envs": 8,
        "rollout_steps": 256,
        "epochs": 10,
        "minibatches": 32,
        "learning_rate": "linear:3e-4:0:1000000",
        "normalise_obs": True,
        "normalise_rewards": True,
    },
}
