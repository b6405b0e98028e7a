"""Thousands of steps of one row of a game in its compiled form: where each step began, and what came of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.engine import RowEngine
from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.native.world import Moved, World
from gymnast.envs.registration import NATIVE


class Trace(NamedTuple):
    """T steps of one row under random actions."""

    env: NativeVectorEnv
    world: World
    """Before each step, and after the last: T + 1 rows; `begun` is that of the first."""
    action: Tensor
    """[T], or [T, ...] of a Box."""
    moved: Moved
    """T rows."""


def record(id: str, steps: int, **options: Any) -> Trace:
    """Random play, step after step, from the seeds 3 of the environment and 0 of the actions.

    It calls the compiled step itself, which takes a tenth of the time of an engine's.
    """
    env = NativeVectorEnv(NATIVE[id][0], 1, max_episode_steps=NATIVE[id][1], **options)
    env.reset_keys(row_keys(3, 1, device=env.device))
    engine, begun = env.engine, env.world.begun.clone()
    assert isinstance(engine, RowEngine)
    now = {name: getattr(env.world, name) for name in ("key", "length", "total", "episode")} | env.world.state
    places = {name: value.numpy() for name, value in now.items()}
    worlds = {name: np.empty((steps + 1, *place.shape[1:]), place.dtype) for name, place in places.items()}
    action, rooms = _actions(env.single_action_space, steps), _rooms(engine, steps)
    tensors = [action, *rooms.values()]
    addresses = [tensor.data_ptr() for tensor in tensors]
    sizes = [tensor.nbytes // steps for tensor in tensors]
    fixed = engine.fixed(env.limit, None)
    for step in range(steps):
        for name, place in places.items():
            worlds[name][step] = place[0]
        engine.kernels.advance(*fixed, *(at + step * size for at, size in zip(addresses, sizes, strict=True)))
    for name, place in places.items():
        worlds[name][steps] = place[0]
    found = {name: torch.from_numpy(values) for name, values in worlds.items()}
    state = {name: found.pop(name) for name in env.world.state}
    return Trace(env, World(state, begun=begun, **found), action, _moved(engine, rooms))


def _actions(space: gym.Space[Any], steps: int) -> Tensor:
    rng = np.random.default_rng(0)
    if isinstance(space, gym.spaces.Box):
        return torch.from_numpy(rng.uniform(space.low, space.high, (steps, *space.shape)).astype(np.float32))
    return torch.from_numpy(rng.integers(space.n, size=steps))  # type: ignore[attr-defined]


def _rooms(engine: RowEngine, steps: int) -> dict[str, Tensor]:
    """Room for what all steps give, in the order of the kernel's arguments."""
    obs, mask = engine._new_obs(), engine._new_mask()
    masks = torch.empty(steps, 0 if mask is None else mask.shape[1], dtype=torch.bool)
    seen = torch.empty(steps, *obs.shape[1:], dtype=obs.dtype)
    return {
        "obs": seen,
        "next_obs": seen.clone(),
        "mask": masks,
        "next_mask": masks.clone(),
        "reward": torch.empty(steps),
        "ends": torch.empty(steps, 3, dtype=torch.bool),
        "total": torch.empty(steps, dtype=torch.float64),
        "length": torch.empty(steps, dtype=torch.int64),
    }


def _moved(engine: RowEngine, rooms: dict[str, Tensor]) -> Moved:
    obs, next_obs, mask, next_mask, reward, ends, total, length = rooms.values()
    terminated, truncated, ended = ends.unbind(1)
    for now, following in ((obs, next_obs), (mask, next_mask)):  # the kernel writes the first of them after ends only
        now[~ended] = following[~ended]
    masks = (mask, next_mask) if mask.shape[1] else (None, None)
    seen = engine._split(obs), engine._split(next_obs)
    return Moved(*seen, reward, terminated, truncated, ended, total, length, *masks, None)
