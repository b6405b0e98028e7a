"""Pointers of addresses for compiled code: passing an array to it costs more than the work on a few rows.

A function that is called by its address is not compiled into its callers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _as_pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


pointer: Any = intrinsic(_as_pointer)
"""`pointer(address)` in compiled code, for `carray`; the caller keeps the memory alive."""


def _call(typing_context: Any, address: Any, numbers: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = [builder.extract_value(arguments[1], position) for position in range(len(numbers))]
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(given))
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.int64, numbers), generate


call: Any = intrinsic(_call)
"""`call(address, numbers)` in compiled code, for a `cfunc` of integers that returns nothing."""
