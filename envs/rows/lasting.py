"""State that persists across episodes: attributes of an environment and its wrappers that changed since construction.

Running statistics, counters, curricula and own generators are numbers, arrays, generators, and containers or
plain objects of these. They are kept as plain values; anything else in an environment is not. Without torch: workers
use it.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

MOST_BYTES = 1 << 20
"""Larger arrays are data, not state."""
MOST_ITEMS = 10_000
"""Longer containers are data as well."""
DEPTH = 4
"""Depth to which nested objects are searched."""

SEEDED = ("env", "_np_random", "_np_random_seed")
"""Attributes that are separate layers, or that the next seeded reset sets."""
BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
"""NumPy's own."""
FOREIGN = ("torch", "gymnasium", "pygame")
"""Packages whose objects are not searched."""

VectorEnv: TypeAlias = "gym.vector.VectorEnv[Any, Any, Any]"
Kept: TypeAlias = "list[dict[str, Any]]"
"""Attributes as plain values: of each wrapper, outermost first, then of the environment itself."""


class _Unkept(Exception):  # noqa: N818 - never leaves this file
    """A value that has no plain form."""


def layers(env: Any) -> list[Any]:
    """The wrappers around an environment, outermost first, and the environment."""
    found = []
    while isinstance(env, (gym.Wrapper, gym.vector.VectorWrapper)):
        found.append(env)
        env = env.env
    return [*found, env]


def take(env: Any) -> Kept:
    """All attributes that have a plain form."""
    return [attributes(layer) for layer in layers(env)]


def changed(env: Any, before: Kept) -> Kept:
    """Like `take`, without attributes that are equal to `before`: addresses, sizes and the like."""
    return [
        {name: value for name, value in now.items() if name not in old or not _same(value, old[name])}
        for now, old in zip(take(env), before, strict=True)
    ]


def put_back(env: Any, kept: Kept) -> None:
    """Restore the result of `take` or `changed` in an environment built the same way; ValueError in another."""
    found = layers(env)
    if len(found) != len(kept):
        raise ValueError(f"state of {len(kept)} wrappers cannot be restored in {len(found)}")
    for layer, values in zip(found, kept, strict=True):
        put_attributes(layer, values)


def of_vector(env: VectorEnv) -> dict[str, Any]:
    """State of the wrappers around a vector environment, and of those around each of its rows in this process."""
    kept: dict[str, Any] = {"wrappers": [attributes(layer) for layer in layers(env)[:-1]]}
    base = env.unwrapped
    if isinstance(base, SyncVectorEnv):
        kept["rows"] = [[attributes(layer) for layer in layers(row)[:-1]] for row in base.envs]
    return kept


def put_vector_back(env: VectorEnv, kept: dict[str, Any]) -> None:
    """Restore the result of `of_vector`."""
    base = env.unwrapped
    rows = zip(base.envs, kept.get("rows", ()), strict=False) if isinstance(base, SyncVectorEnv) else ()
    for layer, values in ((env, kept["wrappers"]), *rows):
        put_back(layer, [*values, {}])


def out_of_reach(env: VectorEnv) -> tuple[str, ...]:
    """Names of the wrappers in the processes of an AsyncVectorEnv that keep statistics over episodes."""
    base = env.unwrapped
    if not isinstance(base, AsyncVectorEnv):
        return ()
    shown = " ".join(base.call("__str__"))  # `<NormalizeReward<TimeLimit<...`: only this call names them
    return tuple(name for name in ("NormalizeObservation", "NormalizeReward") if f"<{name}<" in shown)


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of one object that have a plain form."""
    found = {}
    for name, value in getattr(holder, "__dict__", {}).items():
        if name in SEEDED:
            continue
        try:
            found[name] = _plain(value, DEPTH)
        except _Unkept:
            continue
    return found


def put_attributes(holder: Any, values: dict[str, Any]) -> None:
    own = vars(holder)
    for name, value in values.items():
        if isinstance(value, dict) and "object" in value:
            if hasattr(own.get(name), "__dict__"):
                put_attributes(own[name], value["object"])
            continue
        restored, there = _restored(value), own.get(name)
        if isinstance(there, np.ndarray) and isinstance(restored, np.ndarray) and _alike(there, restored):
            np.copyto(there, restored)  # other objects may share the memory
        else:
            own[name] = restored


def _alike(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and left.dtype == right.dtype and bool(left.flags.writeable)


def _plain(value: Any, depth: int) -> Any:
    """The value as numbers, strings, arrays, and lists and dicts of them."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in "biufc" or value.nbytes > MOST_BYTES:
            raise _Unkept
        return {"scalar": np.array(value)} if isinstance(value, np.generic) else value.copy()
    if isinstance(value, np.random.Generator):
        return {"generator": _plain(value.bit_generator.state, depth)}
    if isinstance(value, np.random.RandomState):
        return {"random_state": _plain(value.get_state(legacy=False), depth)}
    if type(value) is random.Random:
        return {"random": _plain(value.getstate(), depth)}
    if depth == 0:
        raise _Unkept
    return _plain_parts(value, depth - 1)


def _plain_parts(value: Any, depth: int) -> Any:
    if type(value) in (list, tuple, deque, set, dict) and len(value) > MOST_ITEMS:
        raise _Unkept
    if type(value) in (list, tuple, set):
        return {type(value).__name__: [_plain(part, depth) for part in value]}
    if type(value) is deque:
        return {"deque": [_plain(part, depth) for part in value], "maxlen": value.maxlen}
    if type(value) is dict:
        return {"dict": [[_plain(key, depth), _plain(part, depth)] for key, part in value.items()]}
    if isinstance(value, (type, gym.Env, gym.vector.VectorEnv, gym.Space)) or callable(value):
        raise _Unkept
    package = str(getattr(type(value), "__module__", "")).partition(".")[0]  # SWIG's types, as in Box2D, have none
    if not hasattr(value, "__dict__") or (package in FOREIGN and type(value).__name__ != "RunningMeanStd"):
        raise _Unkept
    return {"object": {name: _plain(part, depth) for name, part in vars(value).items()}}


def _restored(value: Any) -> Any:
    """Undo `_plain`."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if not isinstance(value, dict):
        return value
    kind = next(iter(value))
    content = value[kind]
    if kind == "scalar":
        return np.asarray(content)[()]
    if kind == "generator":
        state = _restored(content)
        if state["bit_generator"] not in BIT_GENERATORS:  # a checkpoint may come from a stranger
            raise ValueError(f"a generator {state['bit_generator']!r} cannot be restored")
        generator = np.random.Generator(getattr(np.random, state["bit_generator"])())
        generator.bit_generator.state = state
        return generator
    if kind == "random_state":
        old = np.random.RandomState()
        old.set_state(_restored(content))
        return old
    if kind == "random":
        own = random.Random()
        own.setstate(_restored(content))
        return own
    if kind == "dict":
        return {_restored(key): _restored(part) for key, part in content}
    parts = [_restored(part) for part in content]
    if kind == "deque":
        return deque(parts, maxlen=value["maxlen"])
    return {"list": list, "tuple": tuple, "set": set}[kind](parts)


def _same(left: Any, right: Any) -> bool:
    """Whether two plain forms are equal, arrays bit for bit."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        both = isinstance(left, np.ndarray) and isinstance(right, np.ndarray)
        return both and left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(_same(one, other) for one, other in zip(left, right, strict=True))
    return bool(left == right)
