"""Environments with goals, as in Gymnasium-Robotics: what their `compute_reward` says of other goals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.errors import EnvError, cause
from gymnast.envs.step import GoalRewards, to_tensor

KEYS = {"observation", "achieved_goal", "desired_goal"}


def has_goals(space: gym.Space[Any]) -> bool:
    """Whether observations are Dicts with an achieved and a desired goal of the same form."""
    if not isinstance(space, spaces.Dict) or not space.spaces.keys() >= KEYS:
        return False
    achieved, desired = space["achieved_goal"], space["desired_goal"]
    boxes = isinstance(achieved, spaces.Box) and isinstance(desired, spaces.Box)
    return boxes and (achieved.shape, achieved.dtype) == (desired.shape, desired.dtype)


def goal_rewards(env: Any, space: gym.Space[Any], *, id: str, device: torch.device) -> GoalRewards | None:
    """The rewards of an environment whose observations are of this space; None if it has no goals.

    `compute_reward(achieved_goal, desired_goal, info)` and, if there is one, `compute_terminated` are those of its
    outermost wrapper that has them. They get batches and an empty info; one that gives no batch is asked row by row.
    """
    rewards, ends = _method(env, "compute_reward"), _method(env, "compute_terminated")
    if rewards is None or not has_goals(space):
        return None

    def asked(achieved: Tensor, desired: Tensor) -> tuple[Tensor, Tensor | None]:
        goals = achieved.cpu().numpy(), desired.cpu().numpy()
        try:
            reward = _by_row(rewards, *goals).astype(np.float32)
            ended = None if ends is None else to_tensor(_by_row(ends, *goals).astype(np.bool_), device)
        except Exception as error:
            raise EnvError(f"{id} cannot compute rewards of other goals: {cause(error)}") from error
        return to_tensor(reward, device), ended

    return asked


def _method(env: Any, name: str) -> Callable[..., Any] | None:
    if isinstance(env, gym.Env):
        return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None
    return getattr(env.unwrapped, name, None)


def _by_row(function: Callable[..., Any], achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """What a function of goals [B, ...] gives, [B]."""
    found = np.asarray(function(achieved, desired, {}))
    if found.shape == (len(achieved),):
        return found
    return np.array([np.asarray(function(one, other, {})).item() for one, other in zip(achieved, desired, strict=True)])
