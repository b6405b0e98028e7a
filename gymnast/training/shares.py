"""Checks of a run that several learners share, before anything starts."""

from __future__ import annotations

import gymnasium as gym
import torch

from gymnast.envs.dreams.names import is_dream
from gymnast.envs.factory import EnvLike
from gymnast.settings.options import TrainOptions


def check_share(options: TrainOptions, env_like: EnvLike) -> None:
    """Raise ValueError for options that several learners cannot share."""
    learners = options.learners
    if isinstance(env_like, gym.vector.VectorEnv):
        raise ValueError(
            "learners need an environment that each of them can build (an id or a function), not a VectorEnv"
        )
    if is_dream(env_like):
        raise ValueError("learners cannot be combined with a dream, whose rows share one generator")
    if options.rows % learners:
        raise ValueError(f"num_envs must be a multiple of learners {learners}, got {options.rows}")
    for name in ("overlap", "profile"):
        if getattr(options, name):
            raise ValueError(f"{name} cannot be combined with learners")


def own_device(device: str, options: TrainOptions, learner: int) -> str:
    """The device of a learner: GPUs are taken in turn. ValueError if it cannot be one of several."""
    if options.learners == 1:
        return device
    if device == "mps":
        raise ValueError("device mps cannot be combined with learners, who exchange float64")
    return f"cuda:{learner % torch.cuda.device_count()}" if device == "cuda" else device
