"""Which novelty reward an agent adds to those of its environment."""

from __future__ import annotations

from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.policy.curiosity import Curiosity
from gymnast.agents.policy.episodic import EpisodicNovelty
from gymnast.agents.policy.novelty import Counts, Intrinsic, RandomNetwork

IntrinsicName = Literal["none", "rnd", "counts", "icm", "episodic"]
INTRINSIC: tuple[str, ...] = get_args(IntrinsicName)


def build_intrinsic(
    kind: str,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    *,
    num_envs: int,
    device: torch.device,
    seed: np.random.SeedSequence,
) -> Intrinsic | None:
    """The reward of a name, None for `none`.

    Raises:
        ValueError: actions that `icm` or `episodic` cannot predict.
    """
    if kind == "rnd":
        return RandomNetwork(observation_space, device, seed)
    if kind == "counts":
        return Counts(observation_space, device, seed)
    if kind == "icm":
        return Curiosity(observation_space, action_space, device, seed)
    if kind == "episodic":
        return EpisodicNovelty(observation_space, action_space, num_envs, device, seed)
    return None
