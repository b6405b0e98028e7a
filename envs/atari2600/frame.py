"""One frame of the console: from the end of a vertical sync to the end of the next."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import from_dtype, types

from gymnast.envs.atari2600.cartridge import reset_cartridge
from gymnast.envs.atari2600.compiling import SOURCES, address_of, kernel, rule, stay_apart
from gymnast.envs.atari2600.machine import GROUP, HEIGHT, MACHINE, PIXELS, SYSTEM, WIDTH
from gymnast.envs.atari2600.mersenne import draw
from gymnast.envs.atari2600.picture import LINE, draw_to
from gymnast.envs.atari2600.processor import execute, reset_processor
from gymnast.envs.atari2600.riot import reset_riot
from gymnast.envs.atari2600.tia import NEVER, reset_tia

GREYED = np.uint64(0x0707070707070707)
"""Of each pixel of a group, bits 0 to 2."""


@rule
def reset_system(m: Any, rom: Any) -> None:
    """A reset of all chips; RAM and the switches keep their state."""
    stay_apart()
    m.cycle = 0
    reset_cartridge(m, rom)
    reset_riot(m, draw(m.generators[SYSTEM]))
    reset_tia(m)
    reset_processor(m, rom)
    m.drawn = m.display_end = 0


@kernel
def run_frame(m: Any, rom: Any) -> None:
    """Run until the frame ends, or goes on in the next one because it ran out of instructions (`m.partial`)."""
    if m.partial == 0:
        begin_frame(m)
    m.stop = 0
    execute(m, rom)
    draw_to(m, np.int64(m.touched))
    m.partial = 1 - m.stop
    m.short = 1 if m.drawn < m.display_end else 0
    if m.partial and m.greyed == 0:
        m.greyed = 1
        grey(m)


@cache
def frame_address() -> int:
    """Where the compiled `run_frame` is, which games keep for `call_at`."""
    return address_of(run_frame, from_dtype(MACHINE), types.uint64[::1])


def is_compiled() -> bool:
    """Whether the frame of these sources was compiled on this machine before."""
    return any(Path(run_frame.stats.cache_path).glob(f"*_{SOURCES:08x}-*.nbc"))  # type: ignore[attr-defined]


@rule
def begin_frame(m: Any) -> None:
    """Swap the pictures and count cycles from 0 again, within the line in which the last frame ended."""
    stay_apart()
    elapsed = m.cycle
    m.timer_set -= elapsed
    m.timer_read -= elapsed
    m.dump_cycle -= elapsed
    m.hmove_clock -= 3 * elapsed
    if m.vsync_finish != NEVER:
        m.vsync_finish -= 3 * elapsed
    m.frame_clock = -((3 * elapsed - m.frame_clock) % LINE)
    m.cycle = m.row = m.greyed = 0
    m.buffer = 1 - m.buffer
    m.drawn = m.row_clock = m.frame_clock + LINE * m.ystart
    m.display_end = m.row_clock + LINE * HEIGHT
    m.touched = 0


@rule
def grey(m: Any) -> None:
    """What a frame that is not over shows where it was not drawn yet."""
    stay_apart()
    row = max((3 * m.cycle - m.frame_clock) // LINE - m.ystart, 0)
    first = m.buffer * PIXELS // GROUP
    for group in range(first + row * WIDTH // GROUP, first + PIXELS // GROUP):
        m.screen[group] = m.screen[group] >> np.uint64(1) & GREYED
