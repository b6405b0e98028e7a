"""The random numbers of `gymnast.envs.native.draws` for one row: a function of its draws, a uint64, and an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba.extending import register_jitable

from gymnast.envs.native.draws import STRIDE

Rule = TypeVar("Rule", bound=Callable[..., Any])
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
STEP = np.uint64(STRIDE * 0x9E3779B97F4A7C15 % 2**64)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # SplitMix64's multipliers
S27, S30, S31, S32, S40 = (np.uint64(shift) for shift in (27, 30, 31, 32, 40))
UNIT = np.float32(2.0**-24)


def rule(function: Rule) -> Rule:
    """Mark a function that rules call: it is plain Python, and compiled where compiled code calls it."""
    return register_jitable(no_cfunc_wrapper=True)(function)


def inlined(function: Rule) -> Rule:
    """As `rule`, for a short one: compiled into each place that calls it, which vectorizing a loop over rows needs."""
    return register_jitable(forceinline=True, no_cfunc_wrapper=True)(function)


@inlined
def mix(bits: Any) -> Any:
    """SplitMix64's finaliser, uint64 to uint64."""
    bits = (bits ^ (bits >> S30)) * FIRST
    bits = (bits ^ (bits >> S27)) * SECOND
    return bits ^ (bits >> S31)


@inlined
def draws_of(key: int, counter: int) -> Any:
    """The draws of a step: those of an episode's beginning have the counter 0."""
    return np.uint64(key) + np.uint64(counter) * STEP


@inlined
def following(key: int) -> int:
    """The key of the episode after this one in the same row."""
    return np.int64(mix(~np.uint64(key)))  # type: ignore[no-any-return]


@inlined
def key_of(seed: int) -> int:
    """The key of an individually seeded episode."""
    return np.int64(mix(~mix(np.uint64(seed))))  # type: ignore[no-any-return]


@inlined
def uniform(draws: Any, index: int) -> Any:
    """Uniform in [0, 1), a multiple of 2**-24, float32."""
    return np.float32(mix(draws + np.uint64(index + 1) * GOLDEN) >> S40) * UNIT


@inlined
def integer(draws: Any, index: int, below: int) -> int:
    """Uniform in 0 .. below - 1, int64; `below` at most 2**31."""
    return np.int64(((mix(draws + np.uint64(index + 1) * GOLDEN) >> S32) * np.uint64(below)) >> S32)  # type: ignore[no-any-return]
