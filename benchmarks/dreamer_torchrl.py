"""TorchRL's DreamerV3: the training script that its package brings, with the paper's settings.

Its replay samples only sequences within one episode (with the collector that runs in this process), so the environments
of the comparison have episodes of more than 65 steps.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from contest import Profiler, Result
from dreamer_task import (
    BATCH,
    ENVIRONMENTS,
    LEARNING_RATE,
    LENGTH,
    SIZES,
    TRAIN_RATIO,
    Clock,
    Finished,
    Task,
    register,
)

HORIZON = 333.0


def run(task: Task, profiler: Profiler) -> Result:
    """Its `train.py`, from its beginning to the last timed update."""
    import tensordict
    import torchrl
    from omegaconf import OmegaConf
    from torchrl.objectives import DreamerV3Loss
    from torchrl.trainers.algorithms import DreamerV3OptimizationStepper

    register()
    sys.path.insert(0, str(Path(torchrl.__file__).parent.parent / "sota-implementations" / "dreamer_v3"))
    import train

    clock, built = Clock(task, profiler), []
    DreamerV3OptimizationStepper.step = clock.around(DreamerV3OptimizationStepper.step, _loss)
    prepare, forward = DreamerV3OptimizationStepper.__init__, DreamerV3Loss.forward

    def kept(stepper: Any, loss_module: Any, *args: Any, **kwargs: Any) -> None:
        built.append(loss_module)
        prepare(stepper, loss_module, *args, **kwargs)

    def in_bf16(*args: Any, **kwargs: Any) -> Any:
        """Its own setting is for CUDA only."""
        with torch.autocast("cpu", torch.bfloat16):
            return forward(*args, **kwargs)

    DreamerV3OptimizationStepper.__init__ = kept
    if task.bf16:
        DreamerV3Loss.forward = in_bf16
    with suppress(Finished):
        train.main.__wrapped__(OmegaConf.create(_config(task)))
    versions = f"torchrl {torchrl.__version__}, tensordict {tensordict.__version__}, torch {torch.__version__}"
    parameters = {id(part): part.numel() for part in built[0].parameters() if part.requires_grad}
    return clock.finished(parameters=sum(parameters.values()), versions=versions)


def _loss(losses: Any) -> float:
    return float(sum(losses[f"loss_model_{name}"] for name in ("reco", "reward", "continue")))


def pictures(*, seed: int | None, env_index: int, num_envs: int) -> Any:
    """The environment of pictures, with their channels first, as its encoder reads them."""
    import gymnasium as gym
    from torchrl.envs.libs.gym import GymWrapper

    return GymWrapper(gym.make(ENVIRONMENTS["images"], channels_first=True), device="cpu")


def _config(task: Task) -> dict[str, Any]:
    """Every setting that the script reads."""
    size, images = SIZES[task.size], task.obs == "images"
    return {
        "env": {
            "backend": "custom" if images else "gym",
            "factory": "dreamer_torchrl:pictures" if images else None,
            "factory_kwargs": None,
            "name": ENVIRONMENTS[task.obs],
            "task": None,
            "seed": 0,
            "use_seed": True,
            "max_episode_steps": 500,
            "vector_key": None if images else "observation",
            "pixels_key": "observation" if images else None,
            "milestone_key": None,
            "milestone_names": [],
        },
        "collector": {
            "backend": "sync",
            "num_envs": task.envs,
            "frames_per_batch": task.envs,
            "total_frames": task.steps - task.steps % task.envs,
            "count_reset_records": False,
            "exploration": "random",
            "async_env_backend": "threading",
            "env_exchange": None,
            "envs_per_worker": 1,
            "transition_chunk_size": "auto",
            "inference_backend": "auto",
            "inference_max_batch_size": None,
            "inference_min_batch_size": 1,
            "inference_static_batch_size": False,
            "inference_timeout": 0.01,
            "policy_device": None,
        },
        "replay_buffer": {
            "buffer_size": 10_000,
            "device": "cpu",
            "batch_size": BATCH,
            "seq_len": LENGTH,
            "online": False,
            "warmup_factor": task.learning_starts / (BATCH * LENGTH),
        },
        "networks": {
            "hidden_dim": size.hidden,
            "rnn_hidden_dim": size.deter,
            "num_categoricals": 32,
            "num_classes": size.classes,
            "num_blocks": 8,
            "recurrent_model": "block_gru",
            "dynamics_layers": 1,
            "prior_layers": 2,
            "posterior_layers": 1,
            "encoder_layers": 3,
            "decoder_layers": 3,
            "decoder_event_dims": None,
            "reward_layers": 1,
            "actor_layers": 3,
            "value_layers": 3,
            "num_reward_bins": 255,
            "num_value_bins": 255,
            "unimix": 0.01,
            "norm_eps": 1e-4,
            "policy_min_std": 0.1,
            "policy_max_std": 1.0,
            "image_depth": size.depth,
            "image_mults": [2, 3, 4, 4],
            "image_kernel_size": 5,
            "image_decoder_blocks": 8,
        },
        "optimization": {
            "device": "cpu",
            "lr": LEARNING_RATE,
            "warmup_steps": 0,
            "adaptive_grad_clip": 0.3,
            "optimizer_eps": 1e-20,
            "train_ratio": TRAIN_RATIO,
            "updates_per_batch": 1,
            "gamma": 1 - 1 / HORIZON,
            "lmbda": 0.95,
            "continuation_horizon": HORIZON,
            "imagination_horizon": 15,
            "use_reinforce": True,
            "free_bits": 1.0,
            "dynamic_loss_weight": 1.0,
            "representation_loss_weight": 0.1,
            "replay_value_loss_weight": 0.3,
            "slow_critic_regularization": 1.0,
            "slow_critic_tau": 0.02,
            "return_normalization_rate": 0.01,
            "return_normalization_min_scale": 1.0,
            "compile": "off",
            "compile_train_step": task.compile,
            "compile_train_step_mode": "default",
            "compile_rssm": None,
            "rssm_scan_unroll": 8,
            "cudagraph_train_step": None,
            "mixed_precision": False,
            "deferred_policy_sync": False,
            "separate_policy_rng": False,
            "sync_timers": False,
            "max_time": None,
            "collection_warmup_seconds": 0.0,
            "resume_from": None,
            "checkpoint_dir": None,
            "checkpoint_every": None,
            "checkpoint_keep_last": 1,
            "checkpoint_include_replay": False,
        },
        "logger": {
            "backend": None,
            "base_url": None,
            "project": None,
            "entity": None,
            "group": None,
            "tags": [],
            "mode": None,
            "exp_name": None,
            "log_dir": None,
            "metrics_jsonl": None,
            "output_plot": None,
            "train_every": 0,
            "eval_every": 0,
            "eval_episodes": 1,
        },
    }
