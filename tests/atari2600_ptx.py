"""Compile the kernels of the console's batches to PTX, for which numba-cuda needs libnvvm but no GPU.

`python -m tests.atari2600_ptx [FOLDER]` writes them there; `tests/test_atari2600_cuda.py` runs this where numba-cuda
is installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from gymnast.envs.atari2600 import rows
from gymnast.envs.atari2600.cuda import compiled
from gymnast.envs.atari2600.games import GAME
from gymnast.envs.atari2600.machine import MACHINE
from gymnast.envs.atari2600.observation import Tap
from gymnast.envs.atari2600.targets import Kernels

HOPPER = (9, 0)


def signatures(types: Any, record: Any) -> dict[str, tuple[Any, ...]]:
    """The types that each kernel is called with."""

    def array(kind: Any, axes: int = 1) -> Any:
        return types.Array(record(kind) if isinstance(kind, np.dtype) else kind, axes, "C")

    machines, row, settings = array(MACHINE), array(rows.ROW), array(rows.SETTINGS)
    pairs = array(types.int32, 2)
    words, numbers, planes = array(types.uint64, 2), array(types.int32), array(types.uint8, 4)
    game, rom, tap, weights = array(GAME), array(types.uint64), array(Tap), array(types.float32, 2)
    return {
        "step_rows": (types.int32, machines, words, row, game, rom, settings, numbers, words),
        "begin_rows": (types.int32, machines, row, game, rom, settings, numbers),
        "copy_starts": (types.int32, pairs, row, pairs, numbers),
        "see_rows": (types.int32, machines, row, settings, numbers),
        "show_rows": (types.int32, row, numbers, tap, weights, tap, weights, planes, planes),
    }


def ptx() -> dict[str, str]:
    """Of each kernel."""
    cuda, dispatcher = import_module("numba.cuda"), import_module("numba.cuda.dispatcher")
    types, support = import_module("numba.cuda.types"), import_module("numba.np.numpy_support")
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=HOPPER)  # type: ignore[attr-defined]
    known = signatures(types, support.from_dtype)
    made = {}
    for name, kernel in zip(Kernels._fields, compiled(Kernels._fields), strict=True):
        made[name], _ = cuda.compile(kernel.py_func, known[name], cc=HOPPER, device=False, output="ptx", abi="numba")
    return made


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for name, text in ptx().items():
        assert ".visible .entry" in text, name
        print(name, len(text))
        if folder is not None:
            (folder / f"{name}.ptx").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
