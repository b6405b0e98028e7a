"""The TIA's objects as bit masks of a line: pixel x is bit x % 64 of word x // 64."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import rule, stay_apart
from gymnast.envs.atari2600.machine import BL, M0, M1, P0, P1, PF, WIDTH

COPIES = np.array(
    [[0, -1, -1], [0, 16, -1], [0, 32, -1], [0, 16, 32], [0, 64, -1], [0, -1, -1], [0, 32, 64], [0, -1, -1]], np.int16
)
"""Offsets of an object's copies by NUSIZ bits 0-2, -1 for none."""
DOUBLE, QUAD = 5, 7
"""NUSIZ of one player twice and four times as wide."""

_bits = np.arange(256)[:, None] >> np.arange(8) & 1  # [256, 8]
REVERSE = (_bits << np.arange(7, -1, -1)).sum(1).astype(np.uint8)
"""A byte's bits from the other end."""
TWICE = (_bits * (3 << 2 * np.arange(8))).sum(1).astype(np.uint64)
FOUR_TIMES = (_bits * (15 << 4 * np.arange(8))).sum(1).astype(np.uint64)
"""A byte's bits, each as two or four."""
HALF = np.uint64(32)
LOW_HALF = np.uint64(0xFFFFFFFF)


@rule
def refresh(m: Any) -> None:
    """Make the masks again whose registers were written."""
    stay_apart()
    if m.stale >> P0 & 1:
        graphics = m.old_GRP0 if m.VDELP0 else m.GRP0
        make_player(m, P0, graphics, m.REFP0, m.NUSIZ0 & 7, m.x_P0, m.suppressed_P0)
    if m.stale >> P1 & 1:
        graphics = m.old_GRP1 if m.VDELP1 else m.GRP1
        make_player(m, P1, graphics, m.REFP1, m.NUSIZ1 & 7, m.x_P1, m.suppressed_P1)
    if m.stale >> M0 & 1:
        make_missile(m, M0, m.ENAM0 & ~m.RESMP0 & 2, m.NUSIZ0, m.x_M0)
    if m.stale >> M1 & 1:
        make_missile(m, M1, m.ENAM1 & ~m.RESMP1 & 2, m.NUSIZ1, m.x_M1)
    if m.stale >> BL & 1:
        clear(m, BL)
        if (m.old_ENABL if m.VDELBL else m.ENABL) & 2:
            put(m, BL, bar(m.CTRLPF >> 4 & 3), np.int64(m.x_BL))
    if m.stale >> PF & 1:
        make_playfield(m)
    m.stale = m.searched = 0


@rule
def clear(m: Any, number: int) -> None:
    m.shown &= ~(1 << number)
    m.mask[number, 0] = m.mask[number, 1] = m.mask[number, 2] = np.uint64(0)


@rule
def put(m: Any, number: int, pattern: Any, x: int) -> None:
    """Add a pattern of up to 32 bits to a mask at a position, around the line's end."""
    stay_apart()
    m.shown |= 1 << number
    word, shift = x >> 6, x & 63
    m.mask[number, word] |= pattern << np.uint64(shift)
    if shift > 32 and word < 2:
        m.mask[number, word + 1] |= pattern >> np.uint64(64 - shift)
    m.mask[number, 0] |= m.mask[number, 2] >> HALF
    m.mask[number, 2] &= LOW_HALF


@rule
def bar(size: int) -> Any:
    """1, 2, 4 or 8 bits."""
    return (np.uint64(1) << np.uint64(1 << size)) - np.uint64(1)


@rule
def make_player(m: Any, number: int, graphics: int, reflection: int, size: int, x: int, suppressed: int) -> None:
    """GRP0 or GRP1 as shown, bit 7 first, or bit 0 if it is reflected; wide ones start a pixel later."""
    stay_apart()
    clear(m, number)
    if graphics == 0:
        return
    line = graphics if reflection & 8 else REVERSE[graphics]
    pattern = np.uint64(line)
    if size in (DOUBLE, QUAD):
        pattern = TWICE[line] if size == DOUBLE else FOUR_TIMES[line]
        x += 1
    for copy in range(suppressed, 3):
        offset = COPIES[size, copy]
        if offset >= 0:
            put(m, number, pattern, (x + offset) % WIDTH)


@rule
def make_missile(m: Any, number: int, enabled: int, size: int, x: int) -> None:
    """The copies are a player's, the width is its own."""
    stay_apart()
    clear(m, number)
    if enabled:
        for copy in range(3):
            offset = COPIES[size & 7, copy]
            if offset >= 0:
                put(m, number, bar(size >> 4 & 3), (x + offset) % WIDTH)


@rule
def make_playfield(m: Any) -> None:
    """20 cells of four pixels from PF0's bits 4-7, PF1's 7-0 and PF2's 0-7, then again, or reflected."""
    stay_apart()
    clear(m, PF)
    left = m.PF0 >> 4 | np.int64(REVERSE[m.PF1]) << 4 | m.PF2 << 12
    if left == 0:
        return
    right = left
    if m.reflected:
        right = np.int64(REVERSE[m.PF2]) | m.PF1 << 8 | (np.int64(REVERSE[m.PF0]) & 15) << 16
    m.shown |= 1 << PF
    m.mask[PF, 0] = FOUR_TIMES[left & 0xFF] | FOUR_TIMES[left >> 8 & 0xFF] << HALF
    m.mask[PF, 1] = FOUR_TIMES[left >> 16 | (right & 15) << 4] | FOUR_TIMES[right >> 4 & 0xFF] << HALF
    m.mask[PF, 2] = FOUR_TIMES[right >> 12]
