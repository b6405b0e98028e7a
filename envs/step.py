"""The data that environments pass to the loop and to agents, and its conversion from Gymnasium's values.

Agents know no other part of `envs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.rows import incoming

Obs: TypeAlias = "Tensor | dict[str, Obs]"
"""A batch of observations: a tensor with leading axis N, or a nested dict of them.

A Gymnasium `Tuple` space becomes a dict with the keys "0", "1", …; a `Discrete` one an int64 tensor [N] that holds
the space's own numbers (its `start` included).
"""

GoalRewards: TypeAlias = "Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]"
"""What an environment says of goals achieved and desired, both [B, ...]: rewards, float32 [B], and whether the episode
ends there, bool [B], or None if ends do not depend on the goals."""

TENSOR_DTYPES: dict[Any, np.dtype[Any]] = {
    np.dtype(np.float64): np.dtype(np.float32),
    np.dtype(np.longdouble): np.dtype(np.float32),
    np.dtype(np.uint16): np.dtype(np.int32),
    np.dtype(np.uint32): np.dtype(np.int64),
    np.dtype(np.uint64): np.dtype(np.int64),
}
"""NumPy dtypes of observations that change as tensors; all others are kept."""


@dataclass(slots=True)
class Step:
    """One step of N environments; every tensor is on the environment's device and belongs to the caller.

    The environment never overwrites these tensors, so a step may be kept. If no episode ended, `obs` and
    `next_obs` may be the same tensor and constant rows may be shared between steps: read them, do not write them.
    """

    obs: Obs
    """The policy's next observation, [N, ...]: the first one of the new episode if one ended."""
    start: Tensor
    """Rows of `obs` that begin an episode, bool [N]."""
    next_obs: Obs
    """The true successor of the action, [N, ...]: the final observation if the episode ended."""
    reward: Tensor
    """float32 [N], exactly as returned by the environment, never clipped."""
    terminated: Tensor
    """The episode ended in a terminal state, bool [N]: no bootstrap."""
    truncated: Tensor
    """The episode was cut off, bool [N]: bootstrap from `next_obs`."""
    num_active: int
    """Host integer: transitions that count in this step (N unless `active` says less)."""
    num_ended: int | None
    """Host integer: rows that ended in this step. None if only the device knows."""
    active: Tensor | None = None
    """False on rows whose action the environment ignored, bool [N]: not stored, not counted. None means all rows."""
    lives: Tensor | None = None
    """Lives left after the step, int64 [N], if the environment has them."""
    action_mask: Tensor | None = None
    """Allowed actions in `obs`, bool [N, A], if the environment gives them."""
    next_action_mask: Tensor | None = None
    """Allowed actions in `next_obs`, bool [N, A]."""
    episode_return: Tensor | None = None
    """True undiscounted return, float64 [N], valid only in rows whose episode ended. None if none did."""
    episode_length: Tensor | None = None
    """True length in env steps, int64 [N], valid only in rows whose episode ended. None if none did."""

    @property
    def ended(self) -> Tensor:
        """Rows whose episode ended here, bool [N]: only for resets and logs; learning uses `terminated`."""
        return self.terminated | self.truncated


@dataclass(frozen=True, slots=True)
class TransitionTable:
    """A finite Markov decision process as arrays: S states, A actions, at most K outcomes of each pair.

    Outcomes are in the order in which the environment draws them; unused ones have probability 0.
    """

    probability: np.ndarray  # float64 [S, A, K]
    next_state: np.ndarray  # int64 [S, A, K]
    reward: np.ndarray  # float64 [S, A, K]
    terminated: np.ndarray  # bool [S, A, K]
    initial: np.ndarray  # float64 [S], the distribution of first states
    max_episode_steps: int | None  # the time limit, None without one


def map_obs(function: Callable[[Tensor], Tensor], obs: Obs) -> Obs:
    """Apply a function to each tensor of an observation, keeping the nesting."""
    if isinstance(obs, dict):
        return {key: map_obs(function, value) for key, value in obs.items()}
    return function(obs)


def to_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on the device; on the CPU it keeps the array's memory, so the array must be our own."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def tensor_dtype(space: gym.Space[Any]) -> np.dtype[Any]:
    """The tensor dtype of an array space's observations: float64 becomes float32, uint8 stays."""
    if isinstance(space, spaces.Discrete):
        return np.dtype(np.int64)
    dtype = np.dtype(space.dtype)
    return TENSOR_DTYPES.get(dtype, dtype)


def children(space: spaces.Dict | spaces.Tuple[Any]) -> list[tuple[str, Any, gym.Space[Any]]]:
    """The parts of a Dict or Tuple space: name in an `Obs`, key in an observation, space."""
    if isinstance(space, spaces.Dict):
        return [(str(key), key, part) for key, part in space.spaces.items()]
    return [(str(index), index, part) for index, part in enumerate(space.spaces)]


def batched(space: gym.Space[Any], observations: Any, device: torch.device) -> Obs:
    """A vector environment's batch of observations of a (single) space, copied into tensors."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return {name: batched(part, observations[key], device) for name, key, part in children(space)}
    batch = incoming.fitted(np.array(observations), space)
    if not isinstance(space, spaces.Box):
        incoming.check_range(batch, space)
    dtype = tensor_dtype(space)
    batch = batch if batch.dtype == dtype else incoming.narrowed(batch, dtype)
    if dtype.kind == "f":
        incoming.check_finite(batch)
    return to_tensor(batch, device)


def masks(space: gym.Space[Any], given: Any, rows: int, device: torch.device, *, ended: bool = False) -> Tensor:
    """Masks of allowed actions from one environment (`rows` 1) or N of them, as bool [N, A].

    If an episode `ended`, a mask that allows no action allows all.

    Raises:
        ValueError: masks do not match the action space, or allow no action.
    """
    size = sum(incoming.mask_sizes(space))
    many = not isinstance(given, tuple) and np.shape(given) == (rows, size)
    allowed = [incoming.mask(mask, space) for mask in (given if many else [given])]
    if len(allowed) != rows:
        raise ValueError(f"gave one action mask for {rows} observations: each needs its own")
    none = [incoming.allows_none(mask, space) for mask in allowed]
    if any(none) and not ended:
        raise ValueError(f"gave the action mask {allowed[none.index(True)].tolist()}, which allows no action")
    allowed = [mask | empty for mask, empty in zip(allowed, none, strict=True)]
    return to_tensor(np.stack(allowed), device)
