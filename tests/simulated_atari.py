"""Frames of the console as Numba's CUDA simulator runs them, thread by thread in plain Python, beside compiled code.

Numba decides when it is imported whether it simulates, so `tests/test_atari2600_cuda.py` runs this file in a process
with NUMBA_ENABLE_CUDASIM=1. A simulated frame takes seconds: consoles begin where compiled code has brought them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymnast.envs.atari2600 import rows
from gymnast.envs.atari2600.cuda import compiled
from gymnast.envs.atari2600.machine import MACHINE
from gymnast.envs.atari2600.observation import Tap, taps
from gymnast.envs.atari2600.targets import Kernels
from gymnast.envs.atari2600.vector import AtariVectorEnv
from tests.simulated_cuda import Memory

THREADS = 3
"""Of a simulated block."""
SIZE = 12
"""Pixels of an observation to either side."""


def view(array: NDArray[Any], layout: np.dtype[Any]) -> Memory:
    return Memory(array.reshape(-1).view(np.uint8).view(layout))


def play(game: str, steps: int) -> None:
    """Two rows, an action of two frames, on both sides."""
    env = AtariVectorEnv(game, 2, frame_skip=2, screen=SIZE, stack=2, sticky=0.25, noop_max=3)
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(40):
        env.step(rng.integers(len(env.actions), size=2))
    state = env.snapshot()
    machines, row = state["machines"].copy(), state["rows"].copy()
    before, words = state["obs"].copy(), machines.reshape(2, -1).view(np.uint64)
    kernels = Kernels(*compiled(Kernels._fields))
    console, game_of = (view(machines, MACHINE), Memory(words), view(row, rows.ROW)), Memory(env.game.record)
    fixed = (*console, game_of, env.game.rom, Memory(env.settings))
    maps: list[Any] = []
    for source in (160, 210):
        where, weights = taps(source, SIZE)
        maps += [view(where, Tap), weights]
    kept, changes = np.zeros((2, rows.KEPT), np.uint64), np.full(2, rows.STEPPED, np.int32)
    for _ in range(steps):
        action = rng.integers(len(env.actions), size=2)
        obs = env.step(action)[0]
        planes = np.zeros_like(before)
        kernels.step_rows[1, THREADS](np.int32(2), *fixed, env.actions[action].astype(np.int32), kept)
        kernels.see_rows[8, THREADS](np.int32(2), fixed[0], fixed[2], fixed[5], changes)
        kernels.show_rows[4, THREADS](np.int32(2), fixed[2], changes, *maps, before, planes)
        after = env.snapshot()
        assert np.array_equal(machines, after["machines"]), differing(machines, after["machines"])
        assert np.array_equal(row, after["rows"])
        assert np.array_equal(planes, obs)
        before = planes


def differing(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> list[str]:
    """The fields of machines that differ."""
    here, there = one.reshape(-1).view(MACHINE), other.reshape(-1).view(MACHINE)
    return [
        f"{name} {here[name]} {there[name]}"
        for name in MACHINE.names or ()
        if not np.array_equal(here[name], there[name])
    ]


def main() -> None:
    warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)  # unsigned numbers wrap around
    play("pong", 1)
    play("breakout", 1)


if __name__ == "__main__":
    main()
