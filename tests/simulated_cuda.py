"""Compare rules of one row as Numba's CUDA simulator runs them with the same rules compiled for the CPU.

Numba decides when it is imported whether it simulates, so `tests/test_cuda_rows.py` runs this file in a process with
NUMBA_ENABLE_CUDASIM=1. The simulator runs each thread as plain Python on NumPy's numbers: in games of integers that is
the same, bit for bit; NumPy rounds float32 otherwise than compiled code does.
"""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels import cuda
from gymnast.envs.kernels.cuda import CudaEngine
from gymnast.envs.kernels.engine import RowEngine
from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.game import State
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.registration import NATIVE
from tests.test_kernels import ROUNDED, tensors
from tests.test_minatar_kernels import ROWS, SCATTERED, Scatter

LIMIT = 9
"""Steps of an episode at most."""
THREADS = 3
"""Of a simulated block."""


class Memory:
    """An array as compiled code sees it: of structs, elements have the fields as attributes."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __getitem__(self, at: Any) -> Any:
        found = self.array[at]
        return Struct(found) if isinstance(found, np.void) else found

    def __setitem__(self, at: Any, value: Any) -> None:
        self.array[at] = value


class Struct:
    """A struct, whose fields may have the names of NumPy's own attributes."""

    __slots__ = ("fields",)

    def __init__(self, fields: np.void) -> None:
        object.__setattr__(self, "fields", fields)

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, "fields")[name]

    def __setattr__(self, name: str, value: Any) -> None:
        object.__getattribute__(self, "fields")[name] = value


def array(memory: Tensor, layout: np.dtype[Any] | None = None) -> Memory:
    found = memory.numpy()
    return Memory(found if layout is None else found.view(layout))


def launch(kernel: Any, device: torch.device, blocks: int, given: tuple[Any, ...]) -> None:
    rows = len(given[0].array)
    kernel[-(-rows // THREADS), THREADS](*given)


def play(
    id: str, rows: int, steps: int, *, seeds: Tensor | None = None, scattered: State | None = None, **options: Any
) -> int:
    """Random play of a game in both forms, from some state if given; how many episodes ended."""
    env = NativeVectorEnv(NATIVE[id][0], rows, **options)
    rules = env.game.row_rules()
    assert rules is not None
    simulated, compiled = (form(env.game, rules, rows, keep_final=True) for form in (CudaEngine, RowEngine))
    equal = torch.equal if type(env.game).__name__ not in ROUNDED else close
    env.action_space.seed(0)
    for engine in (simulated, compiled):
        engine.begin(row_keys(3, rows, device=env.device))
        engine.load(engine.world._replace(state=engine.world.state | (scattered or {})))
    ended = 0
    for step in range(steps):
        kind = torch.float32 if isinstance(env.single_action_space, gym.spaces.Box) else torch.int64
        action = torch.as_tensor(env.action_space.sample(), dtype=kind)
        one, two = (tensors(engine, engine.advance(action, LIMIT, seeds)) for engine in (simulated, compiled))
        over = two["ended"]
        assert simulated.final is not None
        assert compiled.final is not None
        for kept, engine in ((one, simulated), (two, compiled)):
            kept |= {f"final {name}": value[over] for name, value in engine.final[1].items()}  # type: ignore[index]
        for name, value in two.items():
            assert one[name].dtype == value.dtype, (id, step, name)
            assert equal(one[name], value), (id, step, name)
        ended += int(over.sum())
        simulated.load(compiled.world)  # where they differ by rounding
        if step == LIMIT:
            for engine in (simulated, compiled):
                engine.restart(torch.arange(rows) % 2 == 0)
    return ended


def close(one: Tensor, two: Tensor) -> bool:
    return torch.allclose(one, two, rtol=1e-5, atol=1e-5)


def main() -> None:
    cuda.array, cuda.launch = array, launch
    warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)  # which is how SplitMix64 works
    for id in NATIVE:
        assert play(id, 3, 12) >= 3, id
    for name, scattered in SCATTERED.items():
        assert play(f"gymnast/MinAtar-{name}-v1", ROWS, 1, scattered=scattered(Scatter())) > 0, name
    assert play("gymnast/MinAtar-Breakout-v1", 4, 12, seeds=torch.arange(6)) > 2  # the last ones have no seeds
    assert play("gymnast/DeepSea-v0", 4, 8, size=3, randomise=True) >= 8


if __name__ == "__main__":
    main()
