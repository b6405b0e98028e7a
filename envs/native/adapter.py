"""The adapter of device-native environments: their steps as `Step`, without a copy and without waiting for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.env import Env
from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.native.world import Moved, World
from gymnast.envs.rows import tensors
from gymnast.envs.step import GoalRewards, Obs, Step, TransitionTable


class NativeEnv(Env):
    """A device-native environment. On the CPU a step says how many rows ended; elsewhere only the device knows."""

    exact_resume = True
    seeds_episodes = True

    def __init__(self, env: NativeVectorEnv, *, id: str, seed: np.random.SeedSequence, first_row: int = 0) -> None:
        tensors.check_actions(env.single_action_space, id)
        self.id, self.env = id, env
        self.num_envs, self.device = env.num_envs, env.device
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.render_fps = float(env.game.render_fps)
        self.host_counts = self.device.type == "cpu"
        env.reset_keys(row_keys(seed_of(seed), first_row + env.num_envs, device=env.device)[first_row:])
        self._began = False
        self._all = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._see(self._all)

    def _see(self, start: Tensor) -> None:
        self.obs, infos = self.env.observe()
        self.action_mask = infos.get("action_mask")
        self.start = start

    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        if episode_seeds is not None:
            self.env.reset_by(torch.tensor(list(episode_seeds), dtype=torch.int64))
        elif self._began or self.env.seeds is not None:
            self.env.reset()
        self._began = True
        self._see(self._all)
        return self.obs

    def reset_keys(self, keys: Tensor) -> None:
        """Begin episodes with these keys, int64 [N]; later `reset` calls continue from them."""
        self.env.reset_keys(keys)
        self._began = True
        self._see(self._all)

    @property
    def episode(self) -> list[int]:
        numbers: list[int] = self.env.world.episode.tolist()
        return numbers

    def step(self, action: Tensor) -> Step:
        step = as_step(self.env.move(action), self.num_envs, on_host=self.host_counts)
        self.obs, self.start, self.action_mask = step.obs, step.start, step.action_mask
        return step

    def state(self) -> dict[str, Any]:
        """All tensors that a step reads and replaces, in nested dicts; None for absent ones."""
        world = self.env.world._asdict()
        return {"world": world, "obs": self.obs, "start": self.start, "mask": self.action_mask}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from tensors of the same form."""
        self.env.world = World(**state["world"])
        self.obs, self.start, self.action_mask = state["obs"], state["start"], state["mask"]

    @property
    def numbers(self) -> Tensor:
        """`episode` as int64 [N] on the device, which later steps do not change."""
        return self.env.world.episode.clone()

    def snapshot(self) -> dict[str, Any]:
        return {"env": self.env.snapshot(), "start": self.start, "began": self._began}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.env.restore(snapshot["env"])
        self._began = snapshot["began"]
        self._see(snapshot["start"].to(self.device))

    def transition_table(self) -> TransitionTable | None:
        table = self.env.game.transition_table()
        return None if table is None else replace(table, max_episode_steps=self.env.limit)

    def goal_rewards(self) -> GoalRewards | None:
        return self.env.game.goal_rewards()

    def render(self, row: int = 0) -> np.ndarray:
        return super().render(row) if self.env.render_mode is None else self.env.picture(row, final=True)


def as_step(moved: Moved, num_envs: int, *, on_host: bool) -> Step:
    """What all rows moved, as a step; `on_host` counts the ended episodes."""
    num_ended = int(moved.ended.sum()) if moved.num_ended is None and on_host else moved.num_ended
    return Step(
        obs=moved.obs,
        start=moved.ended,
        next_obs=moved.next_obs,
        reward=moved.reward,
        terminated=moved.terminated,
        truncated=moved.truncated,
        num_active=num_envs,
        num_ended=num_ended,
        action_mask=moved.action_mask,
        next_action_mask=moved.next_action_mask,
        episode_return=None if num_ended == 0 else moved.total,
        episode_length=None if num_ended == 0 else moved.length,
    )


def seed_of(sequence: np.random.SeedSequence) -> int:
    """The seed of a device-native environment, from a run's sequence."""
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
