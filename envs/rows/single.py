"""Single Gymnasium environments from an id or a function. No torch here: workers use it."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, parse_env_id
from gymnasium.wrappers import TimeLimit

from gymnast.envs import imports
from gymnast.envs.atari.names import atari_games
from gymnast.envs.defaults import kept_defaults
from gymnast.envs.dreams.names import is_dream
from gymnast.envs.errors import cause, display_hint
from gymnast.envs.rows.frames import StackFrames
from gymnast.envs.rows.wrappers import wrapped

Source: TypeAlias = "EnvSpec | Callable[..., gym.Env[Any, Any]]"


OTHER_APIS = {
    "observation_spec": " but one of dm_env, which the package shimmy converts",
    "possible_agents": " but one of several agents (PettingZoo), and gymnast trains one",
    "single_observation_space": ": a vector environment is given to gymnast.train as it is, env=VECTOR_ENV",
    "observation_space": ": derive its class from gymnasium.Env (shimmy converts those of the older gym)",
}
"""Attributes of environments of other libraries, and advice for each."""
EXTRAS = {"gymnasium.envs.box2d": "box2d", "gymnasium.envs.mujoco": "mujoco"}
"""Gymnasium's rooms that need a package more, and our extra of the same name that installs it."""


@dataclass(frozen=True)
class Imported:
    """A function or class that builds a `gym.Env`, by its name: each process imports it for itself."""

    path: str
    """`module:name` or `./file.py:name`."""

    @property
    def function(self) -> Callable[..., gym.Env[Any, Any]]:
        found = imports.find(self.path, "environment")
        if not callable(found):
            raise ValueError(f"it is {_a(found)}, not a function or class that builds a gymnasium.Env")
        return found  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        where, _, name = self.path.rpartition(":")
        return f"{Path(where).name if where.endswith('.py') else where}:{name}"

    def __call__(self, **options: Any) -> gym.Env[Any, Any]:
        return self.function(**options)


def resolve(id: str) -> EnvSpec | Imported:
    """The environment of an id; ValueError names the nearest one. Without a version the highest one is used.

    In `module:name` and `./file.py:name`, whose code is imported first, the name is an id that was registered there,
    or else a function or class that builds an environment.
    """
    if is_dream(id):
        raise ValueError(f"environment {id!r}: this command plays real environments; train and evaluate play dreams")
    where, _, name = id.rpartition(":")
    try:
        known = vars(imports.load(where)) if where else {}
        if name not in gym.registry and name in known:
            found = Imported(id)
            found.function  # noqa: B018 - raises if it cannot build an environment
            return found
    except ValueError as error:
        raise ValueError(f"environment {id!r}: {error}") from error
    if name in gym.registry:
        return gym.registry[name]
    try:
        namespace, base, version = parse_env_id(name)
    except gym.error.Error:
        namespace, base, version = None, name, None
    latest = find_highest_version(namespace, base) if version is None else None
    if latest is not None:
        return gym.registry[get_env_id(namespace, base, latest)]
    if id.endswith((".py", ":")):
        raise ValueError(f"unknown environment {id!r}: name a function or class in it, as in {id.rstrip(':')}:NAME")
    own = [key for key, value in known.items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, [*own, *gym.registry, *atari_games()], 1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    if where:
        raise ValueError(f"unknown environment {id!r}: {where} neither registers nor defines {name}{hint}")
    raise ValueError(f"unknown environment {id!r}{hint} (see gymnast list envs)")


def registered_limit(id: str) -> int | None:
    """The registered time limit of an id; None without one, and for a function or class by its name."""
    found = resolve(id)
    return found.max_episode_steps if isinstance(found, EnvSpec) else None


def build(
    source: Source,
    options: dict[str, Any],
    *,
    wrappers: Sequence[str] = (),
    max_episode_steps: int | None = None,
    render: bool = False,
    frame_stack: int = 1,
) -> gym.Env[Any, Any]:
    """One environment of a spec, or from a function that takes the options; one-line ValueError if it fails."""
    if render:
        prepare_rendering()
        if isinstance(source, EnvSpec) or "render_mode" in _parameters(source):
            options = {**options, "render_mode": "rgb_array"}
    try:
        with kept_defaults(name_of(source)):
            env = _construct(source, options, max_episode_steps=max_episode_steps)
        env = env if frame_stack == 1 else StackFrames(env, frame_stack)
    except _Unfit as error:
        raise ValueError(f"environment {name_of(source)} cannot be used: {error}") from None
    except (Exception, SystemExit) as error:
        raise ValueError(failure(source, error)) from error
    if render and env.render_mode != "rgb_array":
        with suppress(Exception):  # the missing render mode is the actual problem
            env.close()
        raise ValueError(f"environment {name_of(source)} cannot render frames: it has no render_mode rgb_array")
    return wrapped(env, wrappers)


def _construct(source: Source, options: dict[str, Any], *, max_episode_steps: int | None) -> gym.Env[Any, Any]:
    if isinstance(source, EnvSpec):
        made = gym.make(source, max_episode_steps=max_episode_steps, disable_env_checker=True, **options)
        _check(made)
        return made
    env = source(**options)
    _check(env)
    return env if max_episode_steps is None else TimeLimit(env, max_episode_steps)


class _Unfit(Exception):  # noqa: N818 - never leaves this file
    """Why an object is not a usable environment."""


def _check(env: Any) -> None:
    """Refuse a function's result if it is not an environment, has no spaces or cannot be seeded."""
    if not isinstance(env, gym.Env):
        known = next((text for attribute, text in OTHER_APIS.items() if hasattr(env, attribute)), "")
        raise _Unfit(f"the function returned {_a(env)}, not a gymnasium.Env{known}")
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        if not isinstance(space, gym.Space):
            found = "none" if space is None else f"{_a(space)}, {space!r:.60}"
            raise _Unfit(f"its {name} must be a gymnasium space, got {found}")
    if not isinstance(env.metadata, dict):
        raise _Unfit(f"its metadata must be a dict, got {env.metadata!r:.60}")
    with suppress(ValueError):  # compiled methods have no signature
        taken = inspect.signature(env.unwrapped.reset).parameters.values()
        if not any(parameter.name == "seed" or parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
            raise _Unfit("its reset takes no seed; define reset(self, *, seed=None, options=None)")


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _parameters(source: Callable[..., gym.Env[Any, Any]]) -> set[str]:
    """Names of a function's arguments."""
    return set(inspect.signature(source.function if isinstance(source, Imported) else source).parameters)


def failure(source: Source, error: BaseException) -> str:
    """One line on why an environment could not be built: constructors raise anything for options they do not know."""
    if isinstance(source, EnvSpec) and isinstance(error, gym.error.DependencyNotInstalled):
        for room, extra in EXTRAS.items():
            if str(source.entry_point).startswith(room):
                return f'environment {source.id} needs {extra}: pip install "gymnast[{extra}]"'
    text = cause(error)
    return f"environment {name_of(source)} cannot be made: {text}{display_hint(text)}"


def name_of(source: Source) -> str:
    """The id, or a name for an environment made by a function."""
    if isinstance(source, EnvSpec):
        return source.id
    if isinstance(source, Imported):
        return source.name
    function = source.func if isinstance(source, partial) else source
    return str(getattr(function, "__name__", type(function).__name__))


def prepare_rendering() -> None:
    """Let pygame render without a display, and keep its banner out of the output."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
