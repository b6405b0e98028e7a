"""Makes the learned reward that a config asks for."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.rewards.gail import Gail
from gymnast.agents.rewards.model import RewardModel


def build_learned_reward(
    config: Any,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    *,
    device: torch.device,
    seed: np.random.SeedSequence,
) -> Gail | RewardModel | None:
    """The learned reward, if any; only then is a seed spawned.

    Raises:
        ValueError: a reward model whose network is unknown, because nothing has read its run.
    """
    if config.gail:
        return Gail(config, observation_space, action_space, device=device, seed=seed.spawn(1)[0])
    if not config.reward_model:
        return None
    if not config.reward_network:
        raise ValueError(f"reward_model {config.reward_model} is read by gymnast.train, not by an agent of your own")
    return RewardModel(config.reward_network, observation_space, action_space, device=device)
