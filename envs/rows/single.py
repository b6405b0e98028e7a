"""Single Gymnasium environments from an id or a function. No torch here: workers use it."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, parse_env_id
from gymnasium.wrappers import TimeLimit

from gymnast.envs.atari.names import atari_games
from gymnast.envs.rows.frames import StackFrames

Source: TypeAlias = "EnvSpec | Callable[..., gym.Env[Any, Any]]"


def resolve(id: str) -> EnvSpec:
    """The spec of a registered id; ValueError names the nearest id. Without a version the highest one is used."""
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"environment {id!r}: the module {module} cannot be imported ({error})") from None
    if name in gym.registry:
        return gym.registry[name]
    try:
        namespace, base, version = parse_env_id(name)
    except gym.error.Error:
        namespace, base, version = None, name, None
    latest = find_highest_version(namespace, base) if version is None else None
    if latest is not None:
        return gym.registry[get_env_id(namespace, base, latest)]
    near = difflib.get_close_matches(name, [*gym.registry, *atari_games()], 1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"unknown environment {id!r}{hint} (see gymnast list envs)")


def build(
    source: Source,
    options: dict[str, Any],
    *,
    max_episode_steps: int | None = None,
    render: bool = False,
    frame_stack: int = 1,
) -> gym.Env[Any, Any]:
    """One environment of a spec, or from a function that takes the options; ValueError in one line where it fails."""
    if render:
        prepare_rendering()
        if isinstance(source, EnvSpec) or "render_mode" in inspect.signature(source).parameters:
            options = {**options, "render_mode": "rgb_array"}
    try:
        env = _construct(source, options, max_episode_steps=max_episode_steps)
        env = env if frame_stack == 1 else StackFrames(env, frame_stack)
    except Exception as error:
        raise ValueError(failure(source, error)) from error
    if render and env.render_mode != "rgb_array":
        with suppress(Exception):  # the missing render mode is the one thing to say
            env.close()
        raise ValueError(f"environment {name_of(source)} cannot render frames: it has no render_mode rgb_array")
    return env


def _construct(source: Source, options: dict[str, Any], *, max_episode_steps: int | None) -> gym.Env[Any, Any]:
    if isinstance(source, EnvSpec):
        return gym.make(source, max_episode_steps=max_episode_steps, disable_env_checker=True, **options)
    env = source(**options)
    if not isinstance(env, gym.Env):
        raise TypeError(f"the function gave a {type(env).__name__}, not a gymnasium.Env")
    return env if max_episode_steps is None else TimeLimit(env, max_episode_steps)


def failure(source: Source, error: Exception) -> str:
    """One line on why an environment could not be built: constructors raise anything for options they do not know."""
    return f"environment {name_of(source)} cannot be made: {type(error).__name__}: {' '.join(str(error).split())}"


def name_of(source: Source) -> str:
    """The id, or a name for an environment made by a function."""
    if isinstance(source, EnvSpec):
        return source.id
    function = source.func if isinstance(source, partial) else source
    return str(getattr(function, "__name__", type(function).__name__))


def prepare_rendering() -> None:
    """Let pygame render without a display, and keep its banner out of the output."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
