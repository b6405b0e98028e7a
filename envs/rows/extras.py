"""Masks and lives of a vector environment's rows as tensors, across episode ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.rows import infos as vector_infos
from gymnast.envs.rows.infos import Infos
from gymnast.envs.step import Obs, Step, to_tensor


class Extras:
    """Masks and lives of one vector environment, known after its first reset."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], device: torch.device) -> None:
        self._env, self._device = env, device
        self._all = np.ones(env.num_envs, np.bool_)
        self._none = ~self._all
        self._mask_source: str | None = None
        self._has_lives = False

    def look(self, infos: Infos) -> None:
        """Learn from the infos of a reset of all rows what the environment provides."""
        self._has_lives = "lives" in infos
        self._mask_source = vector_infos.mask_source(self._env, infos)

    def mask(
        self, obs: Obs, infos: Infos, *, rows: np.ndarray | None = None, ended: np.ndarray | None = None
    ) -> Tensor | None:
        """Allowed actions in `obs`, bool [N, A], in `rows` (all by default); those that `ended` may allow none."""
        if self._mask_source is None:
            vector_infos.check_unmasked(infos, self._env.single_action_space)
            return None
        rows = self._all if rows is None else rows
        values, present = vector_infos.masks(self._mask_source, self._env, obs, infos)
        space = self._env.single_action_space
        masks = vector_infos.checked_masks(values, present & rows, space, rows, self._none if ended is None else ended)
        return to_tensor(masks, self._device)

    def final_mask(self, step: Step, infos: Infos | None, ended: np.ndarray) -> Tensor | None:
        """`next_action_mask` if an environment began the next episode in the same step."""
        if self._mask_source is None or step.action_mask is None:
            return None
        if self._mask_source == "method" or (self._mask_source == "info" and infos is None):
            # It can no longer be known: any action may have been allowed.
            return merged(step.action_mask, torch.ones_like(step.action_mask), ended)
        return merged(step.action_mask, self.mask(step.next_obs, infos or {}, rows=ended, ended=ended), ended)

    def lives(self, infos: Infos, rows: np.ndarray | None = None) -> Tensor | None:
        """Lives left, int64 [N], in `rows` (all by default); None if the environment has none."""
        if not self._has_lives:
            return None
        return to_tensor(vector_infos.lives(infos, self._all if rows is None else rows), self._device)

    def state(self) -> dict[str, Any]:
        names = ["lives"] * self._has_lives + ["action_mask"] * (self._mask_source is not None)
        return {"extras": names, "mask_source": self._mask_source}

    def put_back(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`; in earlier builds it has no source."""
        self._has_lives = "lives" in state["extras"]
        self._mask_source = state.get("mask_source", "info" if "action_mask" in state["extras"] else None)


def merged(values: Tensor | None, others: Tensor | None, rows: np.ndarray) -> Tensor | None:
    """`values` with `rows` (bool [N]) taken from `others`, if both exist."""
    if values is None or others is None:
        return values
    both = values.clone()
    both[torch.from_numpy(rows)] = others[torch.from_numpy(rows)]
    return both
