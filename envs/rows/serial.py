"""N environments stepped one after the other in this process: fastest for cheap environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs import goals
from gymnast.envs.rows import transition_table as tables
from gymnast.envs.rows.base import RowsEnv, row_seeds
from gymnast.envs.rows.row import Begun, Restored, Row
from gymnast.envs.step import GoalRewards, Step, TransitionTable


class SerialEnv(RowsEnv):
    """Single Gymnasium environments in this process."""

    def __init__(
        self,
        id: str,
        envs: Sequence[gym.Env[Any, Any]],
        *,
        seed: np.random.SeedSequence,
        device: torch.device,
        first_row: int = 0,
    ) -> None:
        self.rows = [
            Row(env, name=id, seeds=seeds, number=number if len(envs) > 1 else None)
            for number, (env, seeds) in enumerate(zip(envs, row_seeds(seed, len(envs), first_row), strict=True))
        ]
        self._steps = [row.step for row in self.rows]
        env = envs[0]
        super().__init__(
            id,
            len(envs),
            observation_space=env.observation_space,
            action_space=env.action_space,
            method=self.rows[0].method,
            device=device,
        )
        self.render_fps = float(env.metadata.get("render_fps") or 30.0)
        self._renders = env.render_mode == "rgb_array"

    def _reset_rows(self, seeds: dict[int, int | None], *, reseed: bool) -> list[Begun]:
        return [self.rows[row].reset(seed, reseed=reseed) for row, seed in seeds.items()]

    def step(self, action: Tensor) -> Step:
        return self._step([step(row) for step, row in zip(self._steps, self._actions(action), strict=True)])

    def _totals(self, rows: list[int]) -> list[tuple[float, int]]:
        return [(self.rows[row].episode_return, self.rows[row].length) for row in rows]

    def _lengths(self) -> list[int]:
        return [row.length for row in self.rows]

    def _extra_names(self) -> tuple[str, ...]:
        return self.rows[0].extras

    def _snapshot_rows(self) -> list[dict[str, Any]]:
        return [row.snapshot() for row in self.rows]

    def _restore_rows(self, states: list[dict[str, Any]]) -> list[Restored]:
        return [row.restore(state) for row, state in zip(self.rows, states, strict=True)]

    def _lasting_rows(self) -> list[dict[str, Any]]:
        return [row.lasting() for row in self.rows]

    def _put_lasting_rows(self, states: list[dict[str, Any]]) -> None:
        for row, state in zip(self.rows, states, strict=True):
            row.put_lasting(state)

    def impose_limit(self, limit: int | None) -> bool:
        endless = [row.impose_limit(limit) for row in self.rows]
        return any(endless)

    def transition_table(self) -> TransitionTable | None:
        return tables.transition_table(self.rows[0].env, self.rows[0].limit)

    def goal_rewards(self) -> GoalRewards | None:
        return goals.goal_rewards(self.rows[0].env, self.single_observation_space, id=self.id, device=self.device)

    def _frame(self, row: int) -> np.ndarray:
        return self.rows[row].render()

    def close(self) -> None:
        for row in self.rows:
            row.close()
