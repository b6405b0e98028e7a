"""Presets of environment families for DQN, PPO, PQN and their variants, with a paper's numbers where it gives any.

A family has changes for all variants under "dqn" or "ppo", and further ones for single algorithms. Periods are in env
steps (4 frames each in Atari). The schedules of epsilon apply without noisy layers.
"""

from __future__ import annotations

from typing import Any

IRIS_SMALL: dict[str, Any] = {
    "codes": 64,
    "code_size": 16,
    "tokenizer_channels": 16,
    "tokenizer_blocks": 1,
    "tokenizer_units": 128,
    "model_width": 64,
    "model_layers": 2,
    "model_dropout": 0.0,
    "policy_channels": 16,
    "memory_size": 64,
    "batch_size": 16,
    "tokenizer_batch": 128,
    "sequence_length": 10,
    "horizon": 10,
    "burn_in": 9,
    "learning_rate": 1e-3,
    "gamma": 0.95,
}
SMALL: dict[str, dict[str, Any]] = {
    "iris": IRIS_SMALL
    | {
        "learning_starts": 200,
        "model_starts": 500,
        "policy_starts": 1_500,
        "train_period": 2,
        "steps": 8_000,
        "eval_every": 1_000,
        "eval_episodes": 50,
    },
    # Few updates: the model learns faster with larger steps; a larger entropy bonus keeps the policy open until it has.
    "dreamer": {
        "size": "1m",
        "num_envs": 4,
        "batch_size": 8,
        "sequence_length": 32,
        "train_ratio": 64,
        "entropy_coef": 0.01,
        "learning_rate": 1e-3,
        "warmup": 100,
        "steps": 30_000,
        "eval_every": 2_500,
        "eval_envs": 50,
        "eval_episodes": 100,
    },
}

MINATAR: dict[str, dict[str, Any]] = {
    "pqn": {
        "network": "minatar-cnn",
        "num_envs": 128,
        "rollout_steps": 32,
        "epochs": 2,
        "minibatches": 32,
        "td_lambda": 0.65,
        "learning_rate": "linear:5e-4:0:10000000",
        "epsilon": "linear:1:0.05:1000000",
        "steps": 10_000_000,
    },
    "ppo": {  # 20 million env steps, over which it decays
        "network": "minatar-cnn",
        "num_envs": 64,
        "rollout_steps": 128,
        "epochs": 4,
        "minibatches": 8,
        "learning_rate": "linear:3e-3:0:20000000",
        "entropy_coef": 0.01,
        "steps": 20_000_000,
    },
    "dreamer": {
        "size": "1m",
        "num_envs": 4,
        "learning_rate": 2e-4,
        "train_ratio": 16,
        "steps": 500_000,
        "eval_every": 50_000,
    },
    "dqn": {
        "network": "minatar-cnn",
        "learning_rate": 2.5e-4,
        "optimizer_eps": 0.01 / 32,
        "batch_size": 32,
        "replay_size": 100_000,
        "learning_starts": 1_000,
        "train_period": 4,
        "target_period": 1_000,
        "epsilon": "linear:1:0.01:100000",
        "v_min": -10.0,
        "v_max": 50.0,
        "priority_beta": "linear:0.4:1:1000000",
    },
    "qr-dqn": {"quantiles": 51},
    "iqn": {"quantiles": 16},
    "iris": IRIS_SMALL
    | {
        "memory_size": 128,
        "learning_starts": 1_000,
        "model_starts": 2_000,
        "policy_starts": 5_000,
        "train_period": 4,
        "steps": 100_000,
        "eval_every": 10_000,
    },
}

# Hafner et al. 2023, appendix: frames of 64x64 in colour, without a stack, true rewards.
DREAMER_ATARI: dict[str, Any] = {
    "size": "50m",
    "replay_size": 400_000,
    "frame_stack": 1,
    "env_options": '{"screen": 64, "grayscale": false}',
}
ATARI: dict[str, dict[str, Any]] = {
    "dreamer": DREAMER_ATARI | {"train_ratio": 32},
    # Mnih et al. 2015, extended data table 1.
    "ppo": {  # Schulman et al. 2017, table 5; 10 million env steps, over which it decays
        "network": "nature-cnn",
        "num_envs": 8,
        "rollout_steps": 128,
        "epochs": 4,
        "minibatches": 4,
        "learning_rate": "linear:2.5e-4:0:10000000",
        "clip": "linear:0.1:0:10000000",
        "value_clip": "linear:0.1:0:10000000",
        "value_coef": 1.0,
        "entropy_coef": 0.01,
        "clip_rewards": True,
        "life_loss": True,
        "eval_sample": True,
        "steps": 10_000_000,
    },
    "pqn": {
        "network": "nature-cnn",
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
    },
    # Mnih et al. 2016, section 8; synchronous as in Wu et al. 2017.
    "a2c": {"num_envs": 16, "learning_rate": "linear:7e-4:0:10000000", "value_clip": None, "value_coef": 0.5},
    "a3c": {"num_envs": 1, "workers": 16, "learning_rate": "linear:7e-4:0:10000000"}
    | {"value_clip": None, "value_coef": 0.5},
    "dqn": {
        "network": "nature-cnn",
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
        "priority_beta": "linear:0.4:1:50000000",
    },
    # van Hasselt et al. 2016, appendix; double-dqn is the untuned version, with DQN's own settings.
    "tuned-double-dqn": {"epsilon": "linear:1:0.01:1000000", "eval_epsilon": 0.001, "target_period": 30_000},
    # Wang et al. 2016, section 4.2.
    "dueling-dqn": {
        "epsilon": "linear:1:0.01:1000000",
        "eval_epsilon": 0.001,
        "learning_rate": 6.25e-5,
        "max_grad_norm": 10.0,
        "target_period": 30_000,
    },
    # Schaul et al. 2016, section 4 and appendix B.2.1: the tuned double DQN with a quarter of its step size.
    "per": {
        "epsilon": "linear:1:0.01:1000000",
        "eval_epsilon": 0.001,
        "learning_rate": 6.25e-5,
        "target_period": 30_000,
        "shared_bias": True,
    },
    "rank-per": {
        "epsilon": "linear:1:0.01:1000000",
        "eval_epsilon": 0.001,
        "learning_rate": 6.25e-5,
        "target_period": 30_000,
        "shared_bias": True,
        "priority_beta": "linear:0.5:1:50000000",
    },
    "noisy-dqn": {"eval_epsilon": 0.0},
    # Bellemare et al. 2017, section 5; Dabney et al. 2018, section 4; Dabney et al. 2018b, section 5.
    "c51": {
        "optimizer": "adam",
        "learning_rate": 2.5e-4,
        "optimizer_eps": 0.01 / 32,
        "epsilon": "linear:1:0.01:1000000",
        "eval_epsilon": 0.001,
    },
    "qr-dqn": {
        "optimizer": "adam",
        "learning_rate": 5e-5,
        "optimizer_eps": 0.01 / 32,
        "epsilon": "linear:1:0.01:1000000",
        "eval_epsilon": 0.001,
    },
    "iqn": {
        "optimizer": "adam",
        "learning_rate": 5e-5,
        "optimizer_eps": 0.01 / 32,
        "epsilon": "linear:1:0.01:1000000",
        "eval_epsilon": 0.001,
    },
    # Hessel et al. 2018, table 1; without noisy layers epsilon falls to 0.01 over 250,000 frames.
    "rainbow": {
        "optimizer": "adam",
        "learning_rate": 6.25e-5,
        "optimizer_eps": 1.5e-4,
        "max_grad_norm": 10.0,
        "epsilon": "linear:1:0.01:62500",
        "eval_epsilon": 0.0,
        "learning_starts": 20_000,
        "target_period": 8_000,
    },
    # Clark et al. 2025, table D6: one update of 256 transitions for each step of 64 environments, a target copied every
    # 500 updates, epsilon beside the noise for 100 million frames; table D4: lives are not used. Of the exponent of
    # importance weights, which the paper does not give, the value in the authors' code.
    "btr": {
        "network": "impala",
        "network_options": {"width": 2, "spectral_norm": True, "max_pool": 6},
        "hidden_sizes": (512,),
        "num_envs": 64,
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "optimizer_eps": 0.005 / 256,
        "max_grad_norm": 10.0,
        "gamma": 0.997,
        "noisy_epsilon": "piecewise:0:1:2000000:0.01:25000000:0.01:25000001:0",
        "eval_epsilon": 0.0,
        "batch_size": 256,
        "replay_size": 1_048_576,
        "priority_beta": 0.2,
        "learning_starts": 200_000,
        "train_period": 64,
        "target_period": 32_000,
        "life_loss": False,
    },
    # Osband et al. 2016, section 6: heads without priors, evaluated by their votes.
    "bootstrapped-dqn": {"prior_scale": 0.0, "bootstrap_vote": True},
    # Kapturowski et al. 2019, appendix, table 2; the target network every 2,500 updates as there. One process instead
    # of 256 actors: a schedule of epsilon, and an update every 64 env steps.
    "r2d2": {
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "optimizer_eps": 1e-3,
        "max_grad_norm": 40.0,
        "gamma": 0.997,
        "epsilon": "linear:1:0.01:1000000",
        "eval_epsilon": 0.001,
        "batch_size": 64,
        "memory_size": 512,
        "sequence_length": 80,
        "burn_in": 40,
        "sequence_period": 40,
        "train_period": 64,
        "target_period": 160_000,
        "clip_rewards": False,
        "life_loss": False,
    },
}

# Kooi et al. 2025: PQN with its own settings and another encoder, whose layers all have GELUs.
HADAMAX_PQN: dict[str, Any] = ATARI["pqn"] | {"network": "hadamax", "activation": "gelu", "steps": 50_000_000}

SR_SPR_100K: dict[str, Any] = {
    "network": "nature-cnn",
    "hidden_sizes": (512,),
    "epsilon": "linear:1:0:2001",
    "learning_starts": 2_000,
    "augment": "shift-intensity",
}
ATARI100K: dict[str, dict[str, Any]] = {
    "dreamer": DREAMER_ATARI | {"train_ratio": 256, "replay_size": 110_000},
    # van Hasselt et al. 2019, appendix: the settings that differ from Rainbow's.
    "dqn": {
        "network": "efficient-cnn",
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "optimizer_eps": 1.5e-4,
        "max_grad_norm": 10.0,
        "gamma": 0.99,
        "epsilon": "linear:1:0.01:5000",
        "eval_epsilon": 0.001,
        "batch_size": 32,
        "replay_size": 110_000,
        "learning_starts": 1_600,
        "train_period": 1,
        "target_period": 2_000,
        "clip_rewards": True,
        "life_loss": True,
        "priority_beta": "linear:0.4:1:100000",
    },
    "rainbow": {"eval_epsilon": 0.0},
    "der": {"eval_epsilon": 0.0},
    # Schwarzer et al. 2021, appendix. With augmented images the target encoder is the online one.
    "spr": {
        "network": "nature-cnn",
        "hidden_sizes": (256,),
        "learning_starts": 2_000,
        "augment": "shift-intensity",
        "prediction_momentum": 0.0,
    },
    # Configurations in the code of Schwarzer et al. 2023.
    "sr-spr": SR_SPR_100K,
    "bbf": SR_SPR_100K | {"network": "impala", "network_options": {"width": 4}, "hidden_sizes": (2048,)},
    "r2d2": {"clip_rewards": False, "life_loss": False},
    # Micheli et al. 2023, appendix: frames of 64x64 in colour, without a stack; the agent's defaults are theirs.
    "iris": {"replay_size": 110_000, "frame_stack": 1, "env_options": '{"screen": 64, "grayscale": false}'},
}
