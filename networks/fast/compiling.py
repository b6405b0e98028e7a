"""How functions of numbers and arrays are compiled: without the GIL, without errors for divisions by zero.

Each says its `error_model` and `fastmath`: Numba gives a function that does not say them those of its first caller, for
all callers (`findings/numba_inherited_options.sh`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def part(function: Function) -> Function:
    """Compiled into its callers."""
    return cast(Function, njit(nogil=True, error_model="numpy", fastmath=False)(function))


def vectorized(function: Function) -> Function:
    """Compiled into its callers, with sums in any order, so that several numbers are computed at once."""
    return cast(Function, njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(function))


def kernel(function: Function) -> Function:
    """Called from Python, and kept on disk."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function))
