"""The kernels of `batch.py` for CUDA, or for Numba's simulator of it, which runs each thread as plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np

from gymnast.envs.atari2600 import batch
from gymnast.envs.atari2600.narrow import LIMIT, Narrowing

cuda: Any = import_module("numba.cuda")  # which has no types
config: Any = import_module("numba.core.config")


REGISTERS = 128
"""Of a thread at most: a multiprocessor then has 512 of them, and little goes to memory for it."""


def compiled(names: Iterable[str]) -> list[Any]:
    """Kernels by name; the first launch of each compiles it."""
    own, options = (_simulated(), {}) if config.ENABLE_CUDASIM else (_intrinsics(), {"max_registers": REGISTERS})
    narrowed = Narrowing(cuda.jit(device=True), {**own, "share": cuda.jit(device=True)(_share)})
    return [cuda.jit(narrowed.plain(getattr(batch, name)), **options) for name in names]


def _share() -> tuple[Any, Any]:
    return np.int32(cuda.grid(1)), np.int32(cuda.gridsize(1))


def _intrinsics() -> dict[str, Any]:
    kit, types, device = (import_module(f"numba.cuda.{name}") for name in ("extending", "types", "libdevice"))

    def narrow(context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            return context.cast(builder, given[0], value, result)

        result = types.int32 if isinstance(value, types.Integer) and value.signed else value
        return result(value), generate

    def stay_apart(context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), generate

    rounded = {"times": device.fmul_rn, "plus": device.fadd_rn, "nearest": device.rintf}
    return {"_narrow": kit.intrinsic(narrow), "stay_apart": kit.intrinsic(stay_apart), **rounded}


def _simulated() -> dict[str, Any]:
    def narrow(value: Any) -> Any:
        if not isinstance(value, int | np.signedinteger):
            return value
        return np.int32((int(value) + LIMIT) % (2 * LIMIT) - LIMIT)

    def stay_apart() -> None:
        """Nothing is compiled."""

    return {"_narrow": narrow, "stay_apart": stay_apart}
