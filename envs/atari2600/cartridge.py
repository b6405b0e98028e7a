"""The cartridge: which part of its image the 4 KiB of the processor's addresses show."""

from __future__ import annotations

from typing import Any

from gymnast.envs.atari2600.compiling import rule, stay_apart

TYPES = ("2K", "4K", "F8", "F6", "E0", "FE")
K2, K4, F8, F6, E0, FE = range(6)
SIZES = {"2K": 2048, "4K": 4096, "F8": 8192, "F6": 16384, "E0": 8192, "FE": 8192}
"""Bytes of an image of each type."""
NO_HOTSPOT = 0x1000


@rule
def reset_cartridge(m: Any) -> None:
    """The banks after power-on and each system reset."""
    stay_apart()
    kind = m.cartridge
    m.hotspots = NO_HOTSPOT
    if kind == F8:
        m.hotspots = 0xFF8
        show_bank(m, 1)
    elif kind == FE:  # address bit 13 chooses the bank
        for part in range(4):
            m.window[part] = 4096 + 1024 * part
            m.window[4 + part] = 1024 * part
    elif kind == E0:
        m.hotspots = 0xFE0
        show_slice(m, 0, 4)
        show_slice(m, 1, 5)
        show_slice(m, 2, 6)
        show_slice(m, 3, 7)
    else:
        if kind == F6:
            m.hotspots = 0xFF6
        show_bank(m, 0)
        if kind == K2:
            for part in range(8):
                m.window[part] = 1024 * (part & 1)


@rule
def show_bank(m: Any, bank: int) -> None:
    """One of the 4 KiB banks."""
    for part in range(8):
        m.window[part] = 4096 * bank + 1024 * (part & 3)


@rule
def show_slice(m: Any, part: int, number: int) -> None:
    """One of the 1 KiB slices in a quarter of the addresses (E0)."""
    m.window[part] = m.window[part + 4] = 1024 * number


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
