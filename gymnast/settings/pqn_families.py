"""Presets of environment families for PQN; periods are in env steps (4 frames each in Atari)."""

from __future__ import annotations

from typing import Any

CARTPOLE: dict[str, Any] = {
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
}

CLASSIC: dict[str, Any] = {
    "rollout_steps": 64,
    "epochs": 4,
    "minibatches": 16,
    "td_lambda": 0.95,
    "learning_rate": "linear:5e-4:0:500000",
    "epsilon": "linear:1:0.1:100000",
    "reward_scale": 0.1,
    "steps": 500_000,
    "eval_every": 25_000,
}

MINATAR: dict[str, Any] = {
    "backbone": "minatar-cnn",
    "num_envs": 128,
    "rollout_steps": 32,
    "epochs": 2,
    "minibatches": 32,
    "td_lambda": 0.65,
    "learning_rate": "linear:5e-4:0:10000000",
    "epsilon": "linear:1:0.05:1000000",
    "steps": 10_000_000,
}
"""As the code of Gallici et al. 2024 has it; 10 million env steps, over which the step size decays."""

ATARI: dict[str, Any] = {
    "backbone": "nature-cnn",
    "num_envs": 128,
    "rollout_steps": 32,
    "epochs": 2,
    "minibatches": 32,
    "td_lambda": 0.65,
    "learning_rate": 2.5e-4,
    "epsilon": "linear:1:0.001:1000000",
    "clip_rewards": True,
    "life_loss": True,
    "steps": 10_000_000,
}
"""As the code of Gallici et al. 2024 has it; 10 million env steps, 40 million frames."""
