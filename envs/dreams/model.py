"""The interface of a model that is dreamt in, and its observations brought into the environment's space."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.step import Obs, children, tensor_dtype


class ImaginedStep(Protocol):
    """One imagined step of N rows."""

    @property
    def state(self) -> Tensor:
        """[N, M], the model's state after the step."""
        ...

    @property
    def obs(self) -> Obs:
        """[N, ...]."""
        ...

    @property
    def reward(self) -> Tensor:
        """float32 [N]."""
        ...

    @property
    def terminated(self) -> Tensor:
        """bool [N]."""
        ...


class DreamModel(Protocol):
    """A model of an environment; it keeps nothing between calls, and draws only from the generators it is given."""

    @property
    def observation_space(self) -> gym.Space[Any]: ...

    @property
    def action_space(self) -> gym.Space[Any]: ...

    @property
    def device(self) -> torch.device: ...

    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Obs]:
        """State [N, M] and first observation [N, ...] of `num` new episodes."""
        ...

    def dream_step(
        self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float = 1.0
    ) -> ImaginedStep:
        """One step; `action` [N, ...] are values of the action space, `temperature` scales the randomness."""
        ...


class IntoSpace:
    """Clips observations [N, ...] to the bounds of their space, which a learned model may miss by a little."""

    def __init__(self, space: gym.Space[Any], device: torch.device) -> None:
        self.space = space
        self._parts: dict[str, IntoSpace] = {}
        self._bounds: tuple[Tensor, Tensor] | None = None
        if isinstance(space, (spaces.Dict, spaces.Tuple)):
            self._parts = {name: IntoSpace(part, device) for name, _, part in children(space)}
            return
        self.dtype = torch.from_numpy(np.empty(0, tensor_dtype(space))).dtype
        low, high = _bounds(space)
        if _is_narrower(self.dtype, low, high):
            self._bounds = torch.as_tensor(low, device=device), torch.as_tensor(high, device=device)

    def __call__(self, obs: Obs) -> Obs:
        if isinstance(obs, dict):
            return {name: part(obs[name]) for name, part in self._parts.items()}
        return obs if self._bounds is None else obs.clamp(*self._bounds)

    def check(self, obs: Obs, rows: int) -> None:
        """ValueError for observations of another shape or type than the space's."""
        if self._parts:
            if not isinstance(obs, dict) or obs.keys() != self._parts.keys():
                raise ValueError(
                    f"observations of {self.space}: the model's are not a dict of {', '.join(self._parts)}"
                )
            for name, part in self._parts.items():
                part.check(obs[name], rows)
            return
        shape = (rows, *(self.space.shape or ()))
        if isinstance(obs, dict) or obs.shape != shape or obs.dtype is not self.dtype:
            found = "a dict" if isinstance(obs, dict) else f"{_name(obs.dtype)} {list(obs.shape)}"
            wanted = f"{_name(self.dtype)} {list(shape)}"
            raise ValueError(f"observations of {self.space} are {wanted}, the model's {found}")


def is_finite(obs: Obs) -> bool:
    """Whether no value of an observation is infinite or not a number; the host waits for the device."""
    if isinstance(obs, dict):
        return all(map(is_finite, obs.values()))
    return not obs.is_floating_point() or bool(obs.isfinite().all())


def _bounds(space: gym.Space[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest values, in the type of the space's tensors."""
    dtype = tensor_dtype(space)
    if isinstance(space, spaces.Box):
        return space.low.astype(dtype), space.high.astype(dtype)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, dtype), np.ones(space.shape, dtype)
    first = np.asarray(getattr(space, "start", 0), dtype)
    count = np.asarray(getattr(space, "nvec", getattr(space, "n", 1)), dtype)
    return first, first + count - 1


def _is_narrower(dtype: torch.dtype, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a space excludes any value of its type."""
    if dtype is torch.bool:
        return False
    if dtype.is_floating_point:
        return bool(np.isfinite(low).any() or np.isfinite(high).any())
    limits = torch.iinfo(dtype)
    return bool((low > limits.min).any() or (high < limits.max).any())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
