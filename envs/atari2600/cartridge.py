"""The cartridge: which part of its image the 4 KiB of the processor's addresses show."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import rule, stay_apart

TYPES = ("2K", "4K", "F8", "F6", "E0", "FE")
K2, K4, F8, F6, E0, FE = range(6)
SIZES = {"2K": 2048, "4K": 4096, "F8": 8192, "F6": 16384, "E0": 8192, "FE": 8192}
"""Bytes of an image of each type."""
NO_HOTSPOT = 0x1000
HOTSPOTS = np.array([NO_HOTSPOT, NO_HOTSPOT, 0xFF8, 0xFF6, 0xFE0, NO_HOTSPOT], np.int64)
"""By type, the first offset in 4 KiB that switches banks."""
CONTIGUOUS = np.array([2048, 4096, 4096, 4096, 1024, 4096], np.int64)
"""By type, bytes that are neighbours wherever they are shown."""
KIB, WITHIN_KIB, PARTS = 10, 0x3FF, 15
"""A KiB as a shift, the mask of a place in one, and that of a KiB's number in 16."""


@rule
def reset_cartridge(m: Any, rom: Any) -> None:
    """The banks after power-on and each system reset."""
    stay_apart()
    kind = m.cartridge
    m.hotspots = HOTSPOTS[kind]
    for part in range(4):
        m.window[part] = m.window[8 + part] = len(rom) - (1 << KIB)  # address bit 12 is clear: not the cartridge
    if kind == FE:  # address bit 13 chooses the bank
        for part in range(4):
            m.window[4 + part] = 4096 + 1024 * part
            m.window[12 + part] = 1024 * part
    elif kind == E0:
        for part in range(4):
            show_slice(m, part, 4 + part)
    elif kind == K2:
        for part in range(4):
            show_slice(m, part, part & 1)
    else:
        show_bank(m, 1 if kind == F8 else 0)


@rule
def show_bank(m: Any, bank: int) -> None:
    """One of the 4 KiB banks."""
    for part in range(4):
        show_slice(m, part, 4 * bank + part)


@rule
def show_slice(m: Any, part: int, number: int) -> None:
    """One of the 1 KiB slices in a quarter of the addresses."""
    m.window[4 + part] = m.window[12 + part] = 1024 * number


@rule
def switch_bank(m: Any, offset: int) -> None:
    """An access to a hotspot, `offset` from `m.hotspots` to 0xFFF, which reads and writes alike trigger."""
    stay_apart()
    kind = m.cartridge
    if kind == F8:
        if offset <= 0xFF9:
            show_bank(m, offset - 0xFF8)
    elif kind == F6:
        if offset <= 0xFF9:
            show_bank(m, offset - 0xFF6)
    elif offset <= 0xFF7:  # E0
        show_slice(m, (offset - 0xFE0) >> 3, offset & 7)
