"""`make`, from an id, a function or a vector environment to one `Env`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec

from gymnast.envs import registration
from gymnast.envs.atari.names import atari_id, is_atari
from gymnast.envs.dreams.adapter import DreamEnv
from gymnast.envs.dreams.names import is_dream
from gymnast.envs.dreams.vector import DreamVectorEnv
from gymnast.envs.env import Env
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.registration import NativeEntry
from gymnast.envs.rows import single
from gymnast.envs.rows.processes import WorkersEnv
from gymnast.envs.rows.serial import SerialEnv
from gymnast.envs.rows.vector import VectorAdapter

EnvLike: TypeAlias = "str | Callable[..., gym.Env[Any, Any]] | gym.vector.VectorEnv[Any, Any, Any]"
NATIVE_FROM = {"CartPole-v1": 16, registration.ATARI: 1}
"""The number of rows from which an id's own vector entry point is faster; that of our console runs rows in threads.

Measured with benchmarks/envs.py, env steps/s of random actions (median of 7 alternating rounds, two busy cores):
serial 23,795 / 33,745 / 21,211 / 36,994 / 35,945 and native 3,413 / 26,445 / 23,773 / 44,602 / 81,500 for 1 / 8 / 12 /
16 / 32 rows. Worker processes pay off for environments that cost more than about 100 µs a step, which is unknown here.
"""
VECTORIZATIONS = ("auto", "serial", "async", "native")


def make(
    id: EnvLike,
    num_envs: int = 1,
    *,
    device: str | torch.device = "cpu",
    seed: int | np.random.SeedSequence = 0,
    vectorization: str = "auto",
    options: dict[str, Any] | None = None,
    wrappers: Sequence[str] = (),
    max_episode_steps: int | None = None,
    render: bool = False,
    native: bool | None = None,
    compile: bool = False,
    check_actions: bool = False,
    frame_stack: int = 1,
    first_row: int = 0,
) -> Env:
    """Build N environments as one `Env`.

    `id` is a registered Gymnasium id (`module:Id` imports the module first), an Atari game, a function or class that
    builds a `gym.Env` or its name (`module:name`, `./file.py:name`), or a `gym.vector.VectorEnv`. `vectorization`:
    serial (in this process), async (worker processes), native (the id's own vector entry point), or auto, a measured
    rule. `options` are passed to the environment's constructor; `max_episode_steps` replaces the registered time limit.
    `wrappers` name classes of `gymnasium.wrappers` to put around each row (`NAME:OPTION=VALUE`), innermost first.
    With `render=True`, `Env.render` gives frames. `native` decides whether an id that has a device-native version is
    played in it: by default on any device but the CPU. With `compile` a step of a device-native environment is one
    compiled function; with `check_actions` it refuses actions outside its space, by an EnvError; other environments
    ignore both. `frame_stack` makes each observation the last frames of an image environment (`rows/frames.py`), which
    device-native environments, Atari games (they have an option `stack`) and vector environments do not take. The rows
    are those from number `first_row` on of more rows with the same seed, which learners divide among themselves; a
    vector environment that exists and a dream have no others.
    Raises a one-line ValueError for anything that cannot be built.
    """
    registration.register()
    wanted = _Wanted(
        num_envs,
        _device(device),
        _sequence(seed),
        vectorization,
        dict(options or {}),
        tuple(wrappers),
        max_episode_steps,
        render=render,
        frame_stack=frame_stack,
        first_row=first_row,
    )
    return _made(id, wanted, native=native, compile=compile, check_actions=check_actions)


def _made(id: EnvLike, wanted: _Wanted, *, native: bool | None, compile: bool, check_actions: bool) -> Env:
    """A given vector environment, rows, or the requested version of an id: device-native or ale-py's own."""
    if isinstance(id, gym.vector.VectorEnv):
        return _adapted(id, wanted, check_actions=check_actions)
    if not isinstance(id, str):
        return _in_rows(id, wanted)
    vectorization = wanted.vectorization
    own = native_id(id, wanted.device, native=_native_if_bare(id, native, wanted), vectorization=vectorization)
    if wanted.wrappers and (own is not None or _is_atari(id)):
        raise ValueError(f"wrapper: {own or id} steps its rows as one, and {wanted.wrappers[0]} wraps a single one")
    if _is_atari(id):
        wanted.refuse_stack("an Atari game: it has the option stack, as in --env-options '{\"stack\": 4}'")
        return _atari(id, wanted)
    if own is None:
        return _in_rows(single.resolve(id), wanted)
    wanted.refuse_stack(f"the device-native {own}")
    return _device_native(own, wanted, compile=compile, check_actions=check_actions)


def _native_if_bare(id: str, native: bool | None, wanted: _Wanted) -> bool | None:
    """With wrappers an id that has other versions is not played in its device-native one, unless requested."""
    if not wanted.wrappers or native is not None or _is_atari(id):
        return native
    spec = single.resolve(id)
    return False if isinstance(spec, EnvSpec) and spec.id in registration.NATIVE_OF else None


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `make` besides the environment."""

    num_envs: int
    device: torch.device
    seed: np.random.SeedSequence
    vectorization: str
    options: dict[str, Any]
    wrappers: tuple[str, ...]
    max_episode_steps: int | None
    render: bool
    frame_stack: int
    first_row: int

    def __post_init__(self) -> None:
        for name, value in (("num_envs", self.num_envs), ("max_episode_steps", self.max_episode_steps)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        if self.vectorization not in VECTORIZATIONS:
            raise ValueError(f"vectorization must be one of {', '.join(VECTORIZATIONS)}, got {self.vectorization!r}")
        if self.frame_stack < 1:
            raise ValueError(f"frame_stack must be >= 1, got {self.frame_stack}")
        if self.first_row < 0:
            raise ValueError(f"first_row must be >= 0, got {self.first_row}")

    def refuse_stack(self, what: str) -> None:
        """ValueError if frames cannot be stacked."""
        if self.frame_stack > 1:
            raise ValueError(f"frame_stack {self.frame_stack} cannot be set for {what}")


def _adapted(env: gym.vector.VectorEnv[Any, Any, Any], wanted: _Wanted, *, check_actions: bool) -> Env:
    """An existing vector environment."""
    wanted.refuse_stack("a VectorEnv: wrap the environments that it is made of")
    if wanted.first_row:
        raise ValueError("first_row cannot be set for a VectorEnv, which has all its rows")
    if isinstance(env, NativeVectorEnv):
        env.check_actions |= check_actions
        return NativeEnv(env, id=_vector_name(env), seed=wanted.seed)
    other = (
        wanted.options or wanted.wrappers or wanted.max_episode_steps or wanted.render or wanted.vectorization != "auto"
    )
    if wanted.num_envs not in (1, env.num_envs) or other:
        raise ValueError(
            "num_envs, options, wrappers, max_episode_steps, render and vectorization cannot be set for a VectorEnv"
        )
    if isinstance(env, DreamVectorEnv):
        if wanted.device.type != env.device.type:
            raise ValueError(f"device {wanted.device} contradicts {env.id}, whose model is on {env.device}")
        env.check_actions |= check_actions
        return DreamEnv(env, seed=wanted.seed)
    return VectorAdapter(env, id=_vector_name(env), seed=wanted.seed, device=wanted.device)


def _atari(id: str, wanted: _Wanted) -> Env:
    """A game in ale-py's own vector environment."""
    if wanted.vectorization not in ("auto", "native"):
        kind = wanted.vectorization
        raise ValueError(f"vectorization of Atari games must be auto or native (ale-py's own), got {kind}")
    from gymnast.envs.atari.games import make_atari  # imports ale-py's emulators, which only games need

    return make_atari(
        id,
        wanted.num_envs,
        device=wanted.device,
        seed=wanted.seed,
        options=wanted.options,
        max_episode_steps=wanted.max_episode_steps,
        render=wanted.render,
        first_row=wanted.first_row,
    )


def _in_rows(source: single.Source, wanted: _Wanted) -> Env:
    """N single environments, or an id's own vector entry point."""
    name, seed, device = single.name_of(source), wanted.seed, wanted.device
    kind = wanted.vectorization
    if kind == "auto":
        kind = "serial" if wanted.wrappers else automatic(source, wanted.num_envs)
    if kind == "native" and wanted.wrappers:
        raise ValueError(f"wrapper {wanted.wrappers[0]} needs vectorization serial or async, got native")
    if kind == "native":
        wanted.refuse_stack("an id's own vector version: use vectorization serial or async")
        own = _native(source, wanted)
        return VectorAdapter(own, id=name, seed=seed, device=device, first_row=wanted.first_row)
    build = partial(
        single.build,
        source,
        wanted.options,
        wrappers=wanted.wrappers,
        max_episode_steps=wanted.max_episode_steps,
        render=wanted.render,
        frame_stack=wanted.frame_stack,
    )
    made: Env
    if kind == "async":
        made = WorkersEnv(name, build, wanted.num_envs, seed=seed, device=device, first_row=wanted.first_row)
    else:
        rows = [build() for _ in range(wanted.num_envs)]
        made = SerialEnv(name, rows, seed=seed, device=device, first_row=wanted.first_row)
    made.frame_stack = wanted.frame_stack
    return made


def native_id(
    id: str, device: str | torch.device, *, native: bool | None = None, vectorization: str = "auto"
) -> str | None:
    """The device-native id that `make` plays for an id, or None if it plays another version.

    `native` True requires it and False excludes it: ValueError if an id has no such version, or no other one.
    """
    own = native_version(id)
    if own is None:
        if native:
            raise ValueError(f"native: {id} has no device-native version; see gymnast list envs")
        return None
    spec = single.resolve(id)
    assert isinstance(spec, EnvSpec)
    alone = own == spec.id and spec.entry_point is None
    if alone and native is False:
        raise ValueError(f"native: {spec.id} has only a device-native version")
    if alone or native is not None:
        wanted = alone or bool(native)
    else:
        on_device = torch.device(device).type != "cpu" and vectorization == "auto"
        wanted = on_device or (own == spec.id and vectorization == "native")
    if wanted and vectorization not in ("auto", "native"):
        raise ValueError(f"vectorization of {own} must be auto or native, got {vectorization}")
    return own if wanted else None


def native_version(id: str) -> str | None:
    """The id of an environment's device-native version, which may be its own; None if it has none."""
    registration.register()
    spec = None if _is_atari(id) or is_dream(id) else single.resolve(id)
    if not isinstance(spec, EnvSpec):
        return None
    return spec.id if isinstance(spec.vector_entry_point, NativeEntry) else registration.NATIVE_OF.get(spec.id)


def full_id(id: str) -> str:
    """The id of the environment that `make` builds: `Pong` is `ALE/Pong-v5`; ValueError if it does not exist."""
    registration.register()
    if is_dream(id):
        return id
    return atari_id(id) if _is_atari(id) else single.name_of(single.resolve(id))


def automatic(source: single.Source, num_envs: int) -> str:
    """The vectorization chosen by `auto`: serial, or native from the number of rows at which it was faster."""
    if not isinstance(source, EnvSpec) or source.vector_entry_point is None:
        return "serial"
    if isinstance(source.vector_entry_point, NativeEntry):  # `native_id` has handled it
        return "serial"
    return "native" if num_envs >= NATIVE_FROM.get(source.id, math.inf) else "serial"


def _is_atari(id: str) -> bool:
    """Whether an id is an Atari game, not another environment registered under such a name."""
    spec = gym.registry.get(id)
    return is_atari(id) and (spec is None or str(spec.entry_point).startswith("ale_py"))


def _native(source: single.Source, wanted: _Wanted) -> gym.vector.VectorEnv[Any, Any, Any]:
    """The vector environment of an id's own entry point."""
    if not isinstance(source, EnvSpec) or source.vector_entry_point is None:
        name = single.name_of(source)
        raise ValueError(f"vectorization native: {name} has no vector entry point; use serial or async")
    options = dict(wanted.options)
    if wanted.render:
        single.prepare_rendering()
        options["render_mode"] = "rgb_array"
    if wanted.max_episode_steps is not None:
        options["max_episode_steps"] = wanted.max_episode_steps
    try:
        return gym.make_vec(source, wanted.num_envs, vectorization_mode="vector_entry_point", **options)
    except Exception as error:
        raise ValueError(single.failure(source, error)) from error


def _device_native(id: str, wanted: _Wanted, *, compile: bool, check_actions: bool) -> NativeEnv:
    """A device-native environment of our own."""
    spec = gym.registry[id]
    settings = {**spec.kwargs, **wanted.options, "render_mode": "rgb_array" if wanted.render else None}
    limit = wanted.max_episode_steps or spec.max_episode_steps
    assert isinstance(spec.vector_entry_point, NativeEntry)
    try:
        env = spec.vector_entry_point(
            wanted.num_envs,
            device=wanted.device,
            max_episode_steps=limit,
            compile=compile,
            check_actions=check_actions,
            **settings,
        )
    except Exception as error:
        raise ValueError(single.failure(spec, error)) from error
    env.spec = spec
    return NativeEnv(env, id=id, seed=wanted.seed, first_row=wanted.first_row)


def _sequence(seed: int | np.random.SeedSequence) -> np.random.SeedSequence:
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    return np.random.SeedSequence(seed)


def _device(name: str | torch.device) -> torch.device:
    """The full name of the device (`cuda` is the current GPU), after checking that it exists."""
    try:
        device = torch.device(name)
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either for unknown names and missing devices
        raise ValueError(f"device {str(name)!r} cannot be used: {str(error).splitlines()[0]}") from None


def _vector_name(env: gym.vector.VectorEnv[Any, Any, Any]) -> str:
    """Its id; EnvPool's `spec` is different and has none."""
    return str(getattr(env.spec, "id", None) or type(env.unwrapped).__name__)
