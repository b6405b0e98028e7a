"""`make`, from an id, a function or a vector environment to one `Env`."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, parse_env_id

from gymnast.envs import registration
from gymnast.envs.env import Env
from gymnast.envs.serial import SerialEnv

EnvLike: TypeAlias = "str | Callable[[], gym.Env[Any, Any]] | gym.vector.VectorEnv[Any, Any, Any]"
VECTORIZATIONS = ("auto", "serial", "async", "native")


def make(
    id: EnvLike,
    num_envs: int = 1,
    *,
    device: str | torch.device = "cpu",
    seed: int | np.random.SeedSequence = 0,
    vectorization: str = "auto",
    options: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    render: bool = False,
) -> Env:
    """Build N environments as one `Env`.

    `id` is a registered Gymnasium id (`module:Id` imports the module first), a function that builds a `gym.Env`, or a
    `gym.vector.VectorEnv`. `vectorization`: serial (in this process), async (worker processes), native (the id's own
    vector entry point), or auto, a rule that was measured. `options` go to the environment's constructor;
    `max_episode_steps` replaces the registered time limit. With `render=True`, `Env.render` gives frames.
    Raises ValueError in one line for whatever cannot be built.
    """
    registration.register()
    if num_envs < 1:
        raise ValueError(f"num_envs must be >= 1, got {num_envs}")
    if max_episode_steps is not None and max_episode_steps < 1:
        raise ValueError(f"max_episode_steps must be >= 1, got {max_episode_steps}")
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    device = torch.device(device)
    if not isinstance(id, str):
        return SerialEnv(getattr(id, "__name__", "env"), [id() for _ in range(num_envs)], seed=sequence, device=device)
    spec = resolve(id)
    envs = [_build(spec, dict(options or {}), max_episode_steps, render) for _ in range(num_envs)]
    return SerialEnv(spec.id, envs, seed=sequence, device=device)


def resolve(id: str) -> EnvSpec:
    """The spec of a registered id; ValueError names the nearest id. An id without its version means the highest one."""
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"environment {id!r}: the module {module} cannot be imported ({error})") from None
    if name in gym.registry:
        return gym.registry[name]
    try:
        space, base, version = parse_env_id(name)
        latest = find_highest_version(space, base) if version is None else None
    except gym.error.Error:
        latest = None
    if latest is not None:
        return gym.registry[get_env_id(space, base, latest)]
    near = difflib.get_close_matches(name, gym.registry, 1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"unknown environment {id!r}{hint} (gymnast list envs shows all)")


def _build(spec: EnvSpec, options: dict[str, Any], limit: int | None, render: bool) -> gym.Env[Any, Any]:
    if render:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # frames need no display
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame prints a banner to stdout
        options = {**options, "render_mode": "rgb_array"}
    try:
        return gym.make(spec, max_episode_steps=limit, disable_env_checker=True, **options)
    except (TypeError, ValueError, ImportError, gym.error.Error) as error:
        raise ValueError(f"{spec.id} cannot be made: {' '.join(str(error).split())}") from error
