"""Uniformly random actions, by a seed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.envs.step import Obs


class RandomActor:
    """An `Actor` that draws from the action space, among the allowed actions if there is a mask.

    Discrete and MultiDiscrete choices are equally probable; Box and MultiBinary are sampled as Gymnasium does
    (uniformly between finite bounds). Raises ValueError for another action space.
    """

    def __init__(self, action_space: gym.Space[Any], num_envs: int, *, seed: np.random.SeedSequence) -> None:
        if not isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete | spaces.Box | spaces.MultiBinary):
            raise ValueError(f"random actions need Discrete, MultiDiscrete, MultiBinary or Box, got {action_space}")
        self._space = action_space
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._batch = batch_space(action_space, num_envs)
        self._batch.seed(int(seed.generate_state(1)[0]))
        self._num_envs = num_envs

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        if not isinstance(self._space, spaces.Discrete | spaces.MultiDiscrete):
            sampled = torch.from_numpy(np.array(self._batch.sample()))
            if action_mask is not None and isinstance(self._space, spaces.MultiBinary):
                sampled *= action_mask.cpu().view(sampled.shape)
            return Acted(sampled)
        sizes = [self._space.n] if isinstance(self._space, spaces.Discrete) else self._space.nvec.flatten().tolist()
        scores = self._generator.random((self._num_envs, sum(map(int, sizes))))
        if action_mask is not None:
            scores += action_mask.cpu().numpy()  # an allowed action has a score of 1 or more
        parts = np.split(scores, np.cumsum(sizes)[:-1], axis=1)
        chosen = np.stack([part.argmax(1) for part in parts], 1).reshape(self._num_envs, *(self._space.shape or ()))
        return Acted(torch.from_numpy(chosen + np.asarray(self._space.start, np.int64)))

    def state_dict(self) -> dict[str, Any]:
        space = self._batch.np_random.bit_generator.state
        return {"generator": self._generator.bit_generator.state, "space": space}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._generator.bit_generator.state = state["generator"]
        self._batch.np_random.bit_generator.state = state["space"]
