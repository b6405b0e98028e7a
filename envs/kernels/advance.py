"""One step of N rows with everything around the rules: time limit, new episodes, statistics; compiled for each game.

Tensors are passed as addresses, because passing an array costs more than a step of a row.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from gymnast.envs.kernels.draws import draws_of, following, key_of
from gymnast.envs.kernels.rules import RowRules, constants, records

BOOK = np.dtype([("key", np.int64), ("length", np.int64), ("total", np.float64), ("episode", np.int64)])
"""What `gymnast.envs.native.world.World` has for each row beside its state."""
# The names that a compiled form of a game replaces; here they only have a type.
STATE = OPTIONS = OBS = ACTION = BOOK
OBS_SHAPE: tuple[int, ...] = (1,)
ACTION_SHAPE: tuple[int, ...] = (1,)
OBS_BYTES, ACTION_BYTES, ACTIONS, MASKED, NUMBERED = 1, 8, 0, False, True


class Shapes(NamedTuple):
    """Of one row's observation and action, and the number of allowed actions, 0 without masks."""

    obs: tuple[int, ...]
    obs_dtype: np.dtype[Any]
    action: tuple[int, ...]
    """() for an integer."""
    mask: int


class Kernels(NamedTuple):
    """The compiled functions of one game."""

    advance: Callable[..., int]
    begin: Callable[..., None]
    observe: Callable[..., None]
    stamp: int
    """Of the game's code and constants."""


def _as_pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


pointer: Any = intrinsic(_as_pointer)


def _advance(
    states: int,
    books: int,
    constant: int,
    begun: int,
    rows: int,
    first: int,
    stop: int,
    limit: int,
    seeds: int,
    num_seeds: int,
    final: int,
    action: int,
    obs: int,
    next_obs: int,
    mask: int,
    next_mask: int,
    reward: int,
    ends: int,
    total: int,
    length: int,
) -> int:
    """Act in the rows from `first` to before `stop` and begin a new episode where one ended; how many did."""
    state, book = carray(pointer(states), rows, STATE), carray(pointer(books), rows, BOOK)
    options, count = carray(pointer(constant), 1, OPTIONS)[0], carray(pointer(begun), 1, np.int64)
    rewards, flags = carray(pointer(reward), rows, np.float32), carray(pointer(ends), (3, rows), np.bool_)
    totals, lengths = carray(pointer(total), rows, np.float64), carray(pointer(length), rows, np.int64)
    seed = carray(pointer(seeds), num_seeds, np.int64)
    before = count[0]
    for row in range(first, stop):
        now, log = state[row], book[row]
        log.length += 1
        pay, terminated = act(now, taken(action, row), draws_of(log.key, log.length), options)
        paid = np.float32(pay)
        log.total += paid
        truncated = log.length >= limit
        rewards[row], totals[row], lengths[row] = paid, log.total, log.length
        flags[0, row], flags[1, row], flags[2, row] = terminated, truncated, terminated or truncated
        seen = carray(pointer(next_obs + row * OBS_BYTES), OBS_SHAPE, OBS)
        show(now, seen, options)
        if MASKED:
            allow(now, carray(pointer(next_mask + row * ACTIONS), ACTIONS, np.bool_), options)
        if terminated or truncated:
            if final:
                carray(pointer(final), rows, STATE)[row] = now
            log.episode = count[0]
            count[0] += 1
            log.key = key_of(seed[log.episode]) if log.episode < num_seeds else following(log.key)
            log.length, log.total = 0, 0.0
            begin(now, draws_of(log.key, 0), options)
            show(now, carray(pointer(obs + row * OBS_BYTES), OBS_SHAPE, OBS), options)
        else:
            copy(next_obs + row * OBS_BYTES, obs + row * OBS_BYTES)
        if MASKED:
            allow(now, carray(pointer(mask + row * ACTIONS), ACTIONS, np.bool_), options)
    return count[0] - before  # type: ignore[no-any-return]


def _begin(states: int, books: int, constant: int, rows: int, which: int) -> None:
    """New episodes, of the keys in the book, in the rows of a mask."""
    state, book = carray(pointer(states), rows, STATE), carray(pointer(books), rows, BOOK)
    options, wanted = carray(pointer(constant), 1, OPTIONS)[0], carray(pointer(which), rows, np.bool_)
    for row in range(rows):
        if wanted[row]:
            book[row].length, book[row].total = 0, 0.0
            begin(state[row], draws_of(book[row].key, 0), options)


def _observe(states: int, constant: int, rows: int, obs: int, mask: int) -> None:
    """The current observations and allowed actions."""
    state, options = carray(pointer(states), rows, STATE), carray(pointer(constant), 1, OPTIONS)[0]
    for row in range(rows):
        show(state[row], carray(pointer(obs + row * OBS_BYTES), OBS_SHAPE, OBS), options)
        if MASKED:
            allow(state[row], carray(pointer(mask + row * ACTIONS), ACTIONS, np.bool_), options)


def _copy(source: int, target: int) -> None:
    """One observation."""
    old, new = carray(pointer(source), OBS_BYTES, np.uint8), carray(pointer(target), OBS_BYTES, np.uint8)
    for at in range(OBS_BYTES):
        new[at] = old[at]


def _taken(action: int, row: int) -> Any:
    """The action of a row: an integer."""
    return carray(pointer(action + row * ACTION_BYTES), 1, np.int64)[0]


def _taken_in_box(action: int, row: int) -> Any:
    """The action of a row: float32 of the space's shape."""
    return carray(pointer(action + row * ACTION_BYTES), ACTION_SHAPE, np.float32)


def _nothing(*given: Any) -> Any:
    """Stands for the rules of a game, and for `allow` in one without masks."""


begin, act, show, allow, copy, taken = _nothing, _nothing, _nothing, _nothing, _copy, _taken


def compiled(rules: RowRules, shapes: Shapes) -> Kernels:
    """The kernels of a game, from the cache on disk if it has been compiled before."""
    state, options = records(rules.fields, 0).dtype, constants(rules.options).dtype
    size = shapes.obs_dtype.itemsize * int(np.prod(shapes.obs, dtype=np.int64))
    names: dict[str, Any] = {
        "STATE": state,
        "OPTIONS": options,
        "OBS": shapes.obs_dtype,
        "OBS_SHAPE": shapes.obs or (1,),
        "OBS_BYTES": size,
        "ACTION_SHAPE": shapes.action,
        "ACTION_BYTES": 4 * int(np.prod(shapes.action)) if shapes.action else 8,
        "ACTIONS": shapes.mask,
        "MASKED": shapes.mask > 0,
    }
    stamp = _stamp(rules, names)
    names = {**globals(), **names, "allow": njit(rules.allow or _nothing)}
    names |= {"begin": njit(rules.begin), "act": njit(rules.act), "show": njit(rules.show)}
    names["copy"] = njit(specialised(_copy, names, stamp))
    names["taken"] = njit(specialised(_taken_in_box if shapes.action else _taken, names, stamp))
    advance, begin, observe = (
        njit(cache=True, nogil=True)(specialised(function, names, stamp)) for function in (_advance, _begin, _observe)
    )
    return Kernels(advance, begin, observe, stamp)


def specialised(function: Any, names: dict[str, Any], stamp: int) -> Any:
    """A function of a game: with its own global names, which the compiler takes as constants.

    Numba's cache knows a function by its file and its name, and notices changes in that file only: the stamp tells
    games, and changes of their rules, apart.
    """
    name = f"{function.__name__}_{stamp:08x}"
    made = FunctionType(function.__code__, names, name)
    made.__qualname__ = name
    return made


def _stamp(rules: RowRules, names: dict[str, Any]) -> int:
    """A checksum of all that is compiled: the code of the rules, of what they call, and the constants of both."""
    parts: dict[str, bytes] = {}
    for function in (*rules.functions, _advance, _begin, _observe):
        _collect(function, parts)
    text = b"".join(parts[name] for name in sorted(parts))
    return zlib.crc32(text + repr(sorted(names.items(), key=lambda item: item[0])).encode())


def _collect(function: Any, parts: dict[str, bytes]) -> None:
    code, name = function.__code__, f"{function.__module__}.{function.__qualname__}"
    if name in parts:
        return
    parts[name] = code.co_code + repr(code.co_consts).encode()
    for used in code.co_names:
        value = function.__globals__.get(used)
        if inspect.isfunction(value):
            _collect(value, parts)
        elif isinstance(value, int | float | tuple | np.generic | np.ndarray):
            parts[f"{name} {used}"] = repr(value).encode()
