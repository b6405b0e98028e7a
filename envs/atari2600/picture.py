"""The TIA's picture and collisions, in spans of a line between which no register changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart
from gymnast.envs.atari2600.machine import BL, GROUP, M0, M1, P0, P1, PF, PIXELS, WIDTH
from gymnast.envs.atari2600.objects import refresh

LINE = 228
"""Clocks of a line."""
BLANK = LINE - WIDTH
COMB = 8
"""Pixels at the beginning of a line that HMOVE blanks."""
SCORE, PRIORITY = 2, 4
"""Bits of CTRLPF."""
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
NONE = np.uint64(0)
ONE_EACH = np.uint64(0x0101010101010101)
"""1 in every pixel of a group."""
WIDE = ((np.arange(256)[:, None] >> np.arange(GROUP) & 1).astype(np.uint8) * 255).view("<u8")[:, 0]
"""A group's bits as bytes: 255 for a pixel whose bit is set."""

# Bits of `collisions`: register n has bit 7 in 2n + 1 and bit 6 in 2n.
M0_P1, M0_P0, M1_P0, M1_P1 = 1 << 1, 1 << 0, 1 << 3, 1 << 2
P0_PF, P0_BL, P1_PF, P1_BL = 1 << 5, 1 << 4, 1 << 7, 1 << 6
M0_PF, M0_BL, M1_PF, M1_BL = 1 << 9, 1 << 8, 1 << 11, 1 << 10
BL_PF, P0_P1, M0_M1 = 1 << 13, 1 << 15, 1 << 14
_PAIRS = (
    *((P0, P1, P0_P1), (P0, M0, M0_P0), (P0, M1, M1_P0), (P0, BL, P0_BL), (P0, PF, P0_PF)),
    *((P1, M0, M0_P1), (P1, M1, M1_P1), (P1, BL, P1_BL), (P1, PF, P1_PF), (M0, M1, M0_M1)),
    *((M0, BL, M0_BL), (M0, PF, M0_PF), (M1, BL, M1_BL), (M1, PF, M1_PF), (BL, PF, BL_PF)),
)
LATCHES = np.array(
    [sum(latch for one, other, latch in _PAIRS if objects >> one & objects >> other & 1) for objects in range(64)],
    np.int32,
)
"""What objects can set if they overlap, by their bits."""


@rule
def draw_to(m: Any, clock: int) -> None:
    """Draw what is between the last drawn clock and this one and inside the picture."""
    stay_apart()
    stop = min(clock, m.display_end)
    is_same = False  # the row is that above, which was drawn whole just now
    while m.drawn < stop:
        end = min(stop, m.row_clock + LINE)
        first = max(m.drawn - m.row_clock - BLANK, 0)
        last = end - m.row_clock - BLANK
        base = (m.buffer * PIXELS + m.row * WIDTH) // GROUP
        if is_same and last == WIDTH and m.stale == 0:
            if m.draw:
                copy_above(m, base)
        elif last > first:
            is_same = first == 0 and last == WIDTH and m.comb == 0
            draw_span(m, base, first, last)
        m.drawn = end
        if end == m.row_clock + LINE:
            end_line(m)


@inlined
def copy_above(m: Any, base: int) -> None:
    for group in range(base, base + WIDTH // GROUP):
        m.screen[group] = m.screen[group - WIDTH // GROUP]


@inlined
def end_line(m: Any) -> None:
    """What a drawn line's end changes: both players are shown whole again, and the reflection is read."""
    m.row += 1
    m.row_clock += LINE
    if m.suppressed_P0:
        m.suppressed_P0 = 0
        m.stale |= 1 << P0
    if m.suppressed_P1:
        m.suppressed_P1 = 0
        m.stale |= 1 << P1
    if m.reflected != m.CTRLPF & 1:
        m.reflected = m.CTRLPF & 1
        m.stale |= 1 << PF


@inlined
def draw_span(m: Any, base: int, first: int, last: int) -> None:
    """Pixels `first` to `last` - 1 of the row whose groups of pixels begin at `base`."""
    if m.VBLANK & 2:
        if m.draw:
            fill(m, base, first, last, 0)
    else:
        if m.stale and (m.draw or LATCHES[m.shown | m.stale] & ~m.collisions):
            refresh(m)
        if m.searched == 0 and LATCHES[m.shown] & ~m.collisions:
            collide(m, first, last)
            m.searched = 1 if last - first == WIDTH else 0
        if m.draw:
            fill(m, base, first, last, np.int64(m.COLUBK))
            if m.shown:
                paint(m, base, first, last)
    if m.comb and first < COMB:
        if m.draw:
            fill(m, base, first, min(last, COMB), 0)
        if last >= COMB:
            m.comb = 0


@inlined
def span(word: int, first: int, last: int) -> Any:
    """The bits of a word of a mask that lie between two pixels."""
    low, high = max(first - 64 * word, 0), min(last - 64 * word, 64)
    return (ALL << np.uint64(low)) & (ALL >> np.uint64(64 - high))


@rule
def collide(m: Any, first: int, last: int) -> None:
    """Set the latches of all pairs of objects that share a pixel of a span."""
    stay_apart()
    found = m.collisions
    for word in range(first >> 6, ((last - 1) >> 6) + 1):
        here = span(word, first, last)
        p0, p1, m0 = m.mask[P0, word] & here, m.mask[P1, word] & here, m.mask[M0, word] & here
        m1, bl, pf = m.mask[M1, word] & here, m.mask[BL, word] & here, m.mask[PF, word] & here
        if p0 != NONE:
            found |= hit(p0, p1, P0_P1) | hit(p0, m0, M0_P0) | hit(p0, m1, M1_P0)
            found |= hit(p0, bl, P0_BL) | hit(p0, pf, P0_PF)
        if p1 != NONE:
            found |= hit(p1, m0, M0_P1) | hit(p1, m1, M1_P1) | hit(p1, bl, P1_BL) | hit(p1, pf, P1_PF)
        if m0 != NONE:
            found |= hit(m0, m1, M0_M1) | hit(m0, bl, M0_BL) | hit(m0, pf, M0_PF)
        if m1 != NONE:
            found |= hit(m1, bl, M1_BL) | hit(m1, pf, M1_PF)
        found |= hit(bl, pf, BL_PF)
    m.collisions = found


@inlined
def hit(one: Any, other: Any, latch: int) -> int:
    return latch if one & other != NONE else 0


@rule
def paint(m: Any, base: int, first: int, last: int) -> None:
    """The objects over the background, those in front last."""
    stay_apart()
    control = m.CTRLPF
    if control & PRIORITY:
        paint_object(m, P1, base, first, last, m.COLUP1)
        paint_object(m, M1, base, first, last, m.COLUP1)
        paint_object(m, P0, base, first, last, m.COLUP0)
        paint_object(m, M0, base, first, last, m.COLUP0)
        paint_object(m, BL, base, first, last, m.COLUPF)
        paint_playfield(m, base, first, last, control & SCORE if m.shown == 1 << PF else 0)  # alone on the line
        return
    paint_object(m, BL, base, first, last, m.COLUPF)
    paint_playfield(m, base, first, last, control & SCORE)
    paint_object(m, P1, base, first, last, m.COLUP1)
    paint_object(m, M1, base, first, last, m.COLUP1)
    if control & SCORE:
        paint_under_score(m, base, first, min(last, WIDTH // 2))
    paint_object(m, P0, base, first, last, m.COLUP0)
    paint_object(m, M0, base, first, last, m.COLUP0)


@rule
def paint_playfield(m: Any, base: int, first: int, last: int, score: int) -> None:
    """In COLUPF, or each half in a player's colour."""
    if score:
        paint_object(m, PF, base, first, min(last, WIDTH // 2), m.COLUP0)
        paint_object(m, PF, base, max(first, WIDTH // 2), last, m.COLUP1)
    else:
        paint_object(m, PF, base, first, last, m.COLUPF)


@rule
def paint_under_score(m: Any, base: int, first: int, last: int) -> None:
    """Player 1 and its missile have player 0's colour over the left half of a playfield in score colours."""
    if first >= last:
        return
    for word in range(first >> 6, ((last - 1) >> 6) + 1):
        bits = (m.mask[P1, word] | m.mask[M1, word]) & m.mask[PF, word] & span(word, first, last)
        paint_bits(m, bits, base + GROUP * word, m.COLUP0)


@rule
def paint_object(m: Any, number: int, base: int, first: int, last: int, colour: int) -> None:
    """The pixels of an object in a span."""
    stay_apart()
    if m.shown >> number & 1 and first < last:
        for word in range(first >> 6, ((last - 1) >> 6) + 1):
            paint_bits(m, m.mask[number, word] & span(word, first, last), base + GROUP * word, colour)


@inlined
def paint_bits(m: Any, bits: Any, at: int, colour: int) -> None:
    """The pixels whose bits are set, from group `at` on."""
    colours = np.uint64(colour) * ONE_EACH
    while bits != NONE:
        group = np.int64(bits & np.uint64(0xFF))
        if group:
            blend(m, at, colours, WIDE[group])
        bits >>= np.uint64(GROUP)
        at += 1


@rule
def fill(m: Any, base: int, first: int, last: int, colour: int) -> None:
    """All pixels of a span."""
    stay_apart()
    colours = np.uint64(colour) * ONE_EACH
    whole, stop = (first + GROUP - 1) // GROUP, last // GROUP
    for group in range(base + whole, base + stop):
        m.screen[group] = colours
    left, right = WIDE[0xFF << first % GROUP & 0xFF], WIDE[0xFF >> GROUP - last % GROUP]
    if whole > stop:  # the span begins and ends inside a group
        blend(m, base + stop, colours, left & right)
        return
    if first % GROUP:
        blend(m, base + whole - 1, colours, left)
    if last % GROUP:
        blend(m, base + stop, colours, right)


@inlined
def blend(m: Any, group: int, colours: Any, where: Any) -> None:
    """Colours in the pixels of a group whose bytes are 255 in `where`."""
    m.screen[group] = m.screen[group] & ~where | colours & where
