"""What compiles the kernels of `batch.py`: Numba for a CUDA GPU, or for the CPU, where they are tested."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from gymnast.envs.atari2600 import batch
from gymnast.envs.atari2600.narrow import Narrowing

BLOCKS = 2**14
"""At most; with more rows or pixels each thread takes several."""


class Kernels(NamedTuple):
    """The kernels of `batch.py`, called with the number of rows and arrays."""

    step_rows: Any
    begin_rows: Any
    copy_starts: Any
    see_rows: Any
    show_rows: Any


class Target(NamedTuple):
    """How a device runs kernels."""

    kernels: Kernels
    launch: Callable[..., None]
    """Run one: the kernel, how many threads have work, the device, what it is called with."""
    memory: Callable[..., Any]
    """A tensor's memory as an array of Numba's, of structs if their layout is given; not a copy."""


def target_of(device: torch.device) -> Target:
    """That of a device, cpu or cuda. Raises ValueError where numba-cuda cannot be used."""
    if device.type == "cpu":
        return _cpu()
    if device.type != "cuda":
        raise ValueError(f"the Atari console runs on cpu or cuda, not {device}")
    from gymnast.envs.atari2600.cuda import compiled
    from gymnast.envs.kernels import cuda

    cuda.check(device)

    def launch(kernel: Any, threads: int, device: torch.device, given: tuple[Any, ...]) -> None:
        cuda.launch(kernel, device, min(-(-threads // cuda.BLOCK), BLOCKS), given)

    return Target(Kernels(*compiled(Kernels._fields)), launch, cuda.array)


@intrinsic
def _narrow(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return context.cast(builder, given[0], value, result)

    result: Any = types.int32 if isinstance(value, types.Integer) and value.signed else value  # type: ignore[attr-defined]
    return result(value), generate


@cache
def _cpu() -> Target:
    options: dict[str, Any] = {"error_model": "numpy", "_nrt": False, "nogil": True}
    narrowed = Narrowing(njit(**options), {"_narrow": _narrow, "stay_apart": njit(**options)(_nothing)})
    kernels = Kernels(*(njit(**options)(narrowed.plain(getattr(batch, name))) for name in Kernels._fields))
    return Target(kernels, _call, _memory)


def _nothing() -> None:
    """In place of `stay_apart`."""


def _call(kernel: Any, threads: int, device: torch.device, given: tuple[Any, ...]) -> None:
    kernel(*given)


def _memory(tensor: Tensor, layout: np.dtype[Any] | None = None) -> Any:
    found = tensor.numpy()
    return found if layout is None else found.view(layout)
