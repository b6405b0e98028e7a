"""How the console's functions are compiled: plain Python functions of one machine, without objects or allocation."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import njit, types
from numba.extending import intrinsic, register_jitable

Function = TypeVar("Function", bound=Callable[..., Any])
OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
"""Without Numba's runtime arrays are not counted, which would take most of the time; nothing here allocates any."""
NOT_COMPILED = (
    *("__init__", "__main__", "check", "check_table", "check_vector", "emulator", "search", "single", "vector"),
    *("batch", "cuda", "device", "narrow", "targets"),
)
_files = (file for file in sorted(Path(__file__).parent.glob("*.py")) if file.stem not in NOT_COMPILED)
SOURCES = zlib.crc32(b"".join(file.read_bytes() for file in _files))


def rule(function: Function) -> Function:
    """A function that kernels call: plain Python, and compiled where compiled code calls it."""
    return register_jitable(forceinline=False, **OPTIONS)(function)  # else its inlined callers' option is its own


def inlined(function: Function) -> Function:
    """As `rule`, compiled into each place that calls it: for the few short ones that run for every instruction."""
    return register_jitable(forceinline=True, **OPTIONS)(function)


def kernel(function: Function) -> Function:
    """A function that Python calls: without the GIL, and read from the cache on disk from the second start on.

    Numba's cache knows a function by its file and name, and notices changes in that file only: the name has a checksum
    of the console's sources.
    """
    function.__qualname__ += f"_{SOURCES:08x}"
    options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
    made: Function = njit(**options)(function)
    return made


def _stay_apart(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        attributes = builder.function.attributes
        attributes.add("noinline")
        set.add(attributes, '"no-jump-tables"="true"')  # which llvmlite's own `add` does not know
        return context.get_dummy_value()

    return types.void(), generate


stay_apart: Any = intrinsic(_stay_apart)
"""Called in a `rule`: it is never compiled into its callers. The slow side of a short function that is inlined in many
places would otherwise multiply the time to compile. Its branches are comparisons instead of jumps through tables, which
processors predict worse: a program's next instruction hangs on many before it."""


def address_of(function: Any, *kinds: Any) -> int:
    """Where a kernel's code for arguments of these types is, for `call_at` as long as this process runs."""
    function.compile(kinds)
    made = function.overloads[kinds]
    address: int = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
    return address


def _call_at(typing_context: Any, address: Any, m: Any, rom: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args[1:]
        kind = context.call_conv.get_function_type(types.none, kinds)
        target = builder.inttoptr(arguments[0], kind.as_pointer())
        context.call_conv.call_function(builder, target, types.none, kinds, arguments[1:])
        return context.get_dummy_value()

    return types.void(types.int64, m, rom), generate


call_at: Any = intrinsic(_call_at)
"""Call a kernel of a machine and its cartridge by its address. Numba compiles a function again with each of those that
call it, and those that call them in turn; for the frame of a console that would take most of the time to compile."""
