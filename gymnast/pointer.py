"""Pointers of addresses for compiled code: passing an array to it costs more than the work on a few rows."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic


def _as_pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


pointer: Any = intrinsic(_as_pointer)
"""`pointer(address)` in compiled code, for `carray`; the caller keeps the memory alive."""
