"""The adapter of dreams: their steps as `Step`, without a copy and without waiting for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.dreams.vector import DreamVectorEnv
from gymnast.envs.env import Env
from gymnast.envs.native.adapter import as_step, seed_of
from gymnast.envs.rows import tensors
from gymnast.envs.step import Obs, Step


class DreamEnv(Env):
    """A dream. All rows draw from one generator, so that an episode depends on the number of rows."""

    exact_resume = True

    def __init__(self, env: DreamVectorEnv, *, seed: np.random.SeedSequence) -> None:
        tensors.check_actions(env.single_action_space, env.id)
        self.id, self.env = env.id, env
        self.num_envs, self.device = env.num_envs, env.device
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.host_counts = self.device.type == "cpu"
        self._all = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        env.reset(seed=seed_of(seed))
        self._began = False
        self.obs, self.start = env.now.obs, self._all

    def reset(self, *, episode_seeds: Sequence[int] | None = None, seed: int | None = None) -> Obs:
        """New episodes, by a seed for all rows or continuing the previous draws."""
        if episode_seeds is not None:
            raise ValueError(f"{self.id} cannot seed individual episodes: all rows draw from one generator")
        if self._began or seed is not None:
            self.env.reset(seed=seed)
        self._began = True
        self.obs, self.start = self.env.now.obs, self._all
        return self.obs

    @property
    def episode(self) -> list[int]:
        numbers: list[int] = self.numbers.tolist()
        return numbers

    @property
    def numbers(self) -> Tensor:
        """`episode` as int64 [N] on the device."""
        return self.env.now.episode

    def step(self, action: Tensor) -> Step:
        step = as_step(self.env.move(action), self.num_envs, on_host=self.host_counts)
        self.obs, self.start = step.obs, step.start
        return step

    def impose_limit(self, limit: int | None) -> bool:
        """A time limit if the dream has none, or None to lift it again; whether it had none."""
        if limit is not None and self.env.limit is not None:
            return False
        self.env.limit = limit
        return True

    def snapshot(self) -> dict[str, Any]:
        return {"env": self.env.snapshot(), "start": self.start, "began": self._began}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.env.restore(snapshot["env"])
        self._began = snapshot["began"]
        self.obs, self.start = self.env.now.obs, snapshot["start"].to(self.device)
