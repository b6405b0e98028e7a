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
from numba.core.errors import NumbaError
from numba.np.numpy_support import carray

from gymnast.envs.kernels.draws import draws_of, following, key_of
from gymnast.envs.kernels.faults import reason
from gymnast.envs.kernels.rules import RowRules, constants, records
from gymnast.pointer import pointer

BOOK = np.dtype([("key", np.int64), ("length", np.int64), ("total", np.float64), ("episode", np.int64)])
"""What `gymnast.envs.native.world.World` has for each row beside its state."""
OUTCOME = np.dtype([("reward", np.float32), ("terminated", np.int32)])
"""Of an action; of one size, because stores of different sizes keep the compiler from vectorizing the loop."""
BLOCK = 256
"""Rows that are stepped after each other, so that what they have is still in the cache for the next part of a step."""
# The names that a compiled form of a game replaces; here they only have a type.
STATE = OPTIONS = OBS = ACTION = BOOK
OBS_SHAPE: tuple[int, ...] = (1,)
ACTION_SHAPE: tuple[int, ...] = (1,)
STATE_BYTES = BOOK_BYTES = BOOK.itemsize
OUTCOME_BYTES = OUTCOME.itemsize
OBS_BYTES, ACTION_BYTES, ACTIONS, MASKED = 1, 8, 0, False


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
    outcomes: int,
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
    """Act in the rows from `first` to before `stop` and begin a new episode where one ended; how many did.

    If none did in any row, `obs` and `mask` are not written: they are `next_obs` and `next_mask`.
    """
    ended, outcome = 0, outcomes + first * OUTCOME_BYTES
    for start in range(first, stop, BLOCK):
        state, book, count = states + start * STATE_BYTES, books + start * BOOK_BYTES, min(BLOCK, stop - start)
        play(state, book, constant, outcome, count, action + start * ACTION_BYTES)
        observe(state, constant, count, next_obs + start * OBS_BYTES, next_mask + start * ACTIONS)
        results = reward + 4 * start, ends + start, rows, total + 8 * start, length + 8 * start
        ended += enter(book, outcome, count, limit, *results)
    state, book, count = states + first * STATE_BYTES, books + first * BOOK_BYTES, stop - first
    seen, allowed = obs + first * OBS_BYTES, mask + first * ACTIONS
    if ended > 0 or count < rows:  # else both observations are the same ones, and the caller shares `next_obs`
        copy(next_obs + first * OBS_BYTES, seen, count * OBS_BYTES)
        copy(next_mask + first * ACTIONS, allowed, count * ACTIONS)
    if ended > 0:
        last = final + first * STATE_BYTES if final else 0
        over = ends + 2 * rows + first
        renew(state, book, constant, begun, count, seeds, num_seeds, last, over, seen, allowed)
    return ended


def _play(states: int, books: int, constant: int, outcomes: int, rows: int, action: int) -> None:
    """Act in each row: alone in its loop, so that the compiler can act in several at once if the rules are simple."""
    state, book = carray(pointer(states), rows, STATE), carray(pointer(books), rows, BOOK)
    options, outcome = carray(pointer(constant), 1, OPTIONS)[0], carray(pointer(outcomes), rows, OUTCOME)
    actions = carray(pointer(action), (rows, *ACTION_SHAPE), ACTION)
    for row in range(rows):
        draws = draws_of(book[row].key, book[row].length + 1)
        pay, terminated = act(state[row], actions[row], draws, options)
        outcome[row].reward, outcome[row].terminated = np.float32(pay), terminated


def _enter(
    books: int, outcomes: int, rows: int, limit: int, reward: int, ends: int, apart: int, total: int, length: int
) -> int:
    """Count the steps and rewards, and which episodes ended; the three kinds of ends are `apart` bytes apart."""
    book, outcome = carray(pointer(books), rows, BOOK), carray(pointer(outcomes), rows, OUTCOME)
    rewards, totals = carray(pointer(reward), rows, np.float32), carray(pointer(total), rows, np.float64)
    lengths, terminations = carray(pointer(length), rows, np.int64), carray(pointer(ends), rows, np.bool_)
    truncations = carray(pointer(ends + apart), rows, np.bool_)
    either = carray(pointer(ends + 2 * apart), rows, np.bool_)
    ended = 0
    for row in range(rows):
        log, terminated = book[row], outcome[row].terminated != 0
        log.length += 1
        log.total += outcome[row].reward
        truncated = log.length >= limit
        rewards[row], totals[row], lengths[row] = outcome[row].reward, log.total, log.length
        terminations[row], truncations[row], either[row] = terminated, truncated, terminated or truncated
        ended += terminated or truncated
    return ended


def _renew(
    states: int,
    books: int,
    constant: int,
    begun: int,
    rows: int,
    seeds: int,
    num_seeds: int,
    final: int,
    ended: int,
    obs: int,
    mask: int,
) -> None:
    """New episodes in the rows that ended, numbered on, and their observations."""
    state, book = carray(pointer(states), rows, STATE), carray(pointer(books), rows, BOOK)
    options, number = carray(pointer(constant), 1, OPTIONS)[0], carray(pointer(begun), 1, np.int64)
    over, seed = carray(pointer(ended), rows, np.bool_), carray(pointer(seeds), num_seeds, np.int64)
    for row in range(rows):
        if over[row]:
            now, log = state[row], book[row]
            if final:
                carray(pointer(final), rows, STATE)[row] = now
            log.episode = number[0]
            number[0] += 1
            log.key = key_of(seed[log.episode]) if log.episode < num_seeds else following(log.key)
            log.length, log.total = 0, 0.0
            begin(now, draws_of(log.key, 0), options)
            one = np.int64(1)  # a literal would be a type of its own, for which `observe` were compiled again
            observe(states + row * STATE_BYTES, constant, one, obs + row * OBS_BYTES, mask + row * ACTIONS)


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
    seen = carray(pointer(obs), (rows, *OBS_SHAPE), OBS)
    for row in range(rows):
        show(state[row], seen[row], options)
    if MASKED:
        allowed = carray(pointer(mask), (rows, ACTIONS), np.bool_)
        for row in range(rows):
            allow(state[row], allowed[row], options)


def _copy(source: int, target: int, size: int) -> None:
    """So many bytes."""
    old, new = carray(pointer(source), size, np.uint8), carray(pointer(target), size, np.uint8)
    for at in range(size):
        new[at] = old[at]


def _nothing(*given: Any) -> Any:
    """Stands for the rules of a game, and for `allow` in one without masks."""


def _called(function: Callable[..., Any]) -> Any:
    """A part of a kernel, compiled into it; a division by zero gives what it gives in a tensor."""
    alone: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # only kernels call it
    return njit(error_model="numpy", forceinline=True, **alone)(function)


begin = act = show = allow = _nothing
play, observe, renew = _play, _observe, _renew
enter, copy = _called(_enter), _called(_copy)  # the same in all games


def compiled(rules: RowRules, shapes: Shapes) -> Kernels:
    """The kernels of a game, from the cache on disk if it has been compiled before; ValueError if they cannot be."""
    state, options = records(rules.fields, 0).dtype, constants(rules.options).dtype
    size = shapes.obs_dtype.itemsize * int(np.prod(shapes.obs, dtype=np.int64))
    names: dict[str, Any] = {
        "STATE": state,
        "OPTIONS": options,
        "STATE_BYTES": state.itemsize,
        "OBS": shapes.obs_dtype,
        "OBS_SHAPE": shapes.obs or (1,),
        "OBS_BYTES": size,
        "ACTION": np.dtype(np.float32 if shapes.action else np.int64),
        "ACTION_SHAPE": shapes.action,
        "ACTION_BYTES": 4 * int(np.prod(shapes.action)) if shapes.action else 8,
        "ACTIONS": shapes.mask,
        "MASKED": shapes.mask > 0,
    }
    stamp = _stamp(rules, names)
    names = {**globals(), **names, "allow": _called(rules.allow or _nothing)}
    names |= {"begin": _called(rules.begin), "act": _called(rules.act), "show": _called(rules.show)}
    for name, function in {"play": _play, "observe": _observe, "renew": _renew}.items():
        names[name] = _called(specialised(function, names, stamp))
    try:
        advance, begin, observe = (
            _kernel(specialised(function, names, stamp)) for function in (_advance, _begin, _observe)
        )
    except (NumbaError, KeyError) as error:
        raise ValueError(f"its rules of one row cannot be compiled: {reason(error)}") from error
    return Kernels(advance, begin, observe, stamp)


def _kernel(function: Any) -> Any:
    """Compiled at once, so that a fault in the rules is found when the environment is made."""
    made = njit(cache=True, nogil=True, error_model="numpy")(function)
    made.compile((types.int64,) * function.__code__.co_argcount)
    return made


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
    for function in (*rules.functions, _advance, _begin):
        _collect(function, parts)
    text = b"".join(name.encode() + parts[name] for name in sorted(parts))
    return zlib.crc32(text + repr(sorted(names.items(), key=lambda item: item[0])).encode())


def _collect(function: Any, parts: dict[str, bytes]) -> None:
    code, name = function.__code__, f"{function.__module__}.{function.__qualname__}"
    if name in parts:
        return
    parts[name] = code.co_code + repr((code.co_consts, code.co_names)).encode()
    for used in code.co_names:
        value = function.__globals__.get(used)
        if inspect.isfunction(value):
            _collect(value, parts)
        elif isinstance(value, np.ndarray):
            parts[f"{name} {used}"] = value.tobytes()
        elif isinstance(value, int | float | tuple | np.generic):
            parts[f"{name} {used}"] = repr(value).encode()
