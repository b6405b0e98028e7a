"""The TIA (television interface adaptor): its registers, and when a write to one takes effect.

The picture is drawn lazily: a write first has it drawn up to the clock at which the new value is seen. A clock is a
third of a processor cycle; a line has 228, of which the first 68 are blank.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart
from gymnast.envs.atari2600.machine import BL, M0, M1, OBJECTS, P0, P1, PF
from gymnast.envs.atari2600.motion import move, place_ball, place_missile, place_player, release_missile
from gymnast.envs.atari2600.picture import LINE, draw_to

VSYNC, VBLANK, WSYNC, RSYNC, NUSIZ0, NUSIZ1, COLUP0, COLUP1, COLUPF, COLUBK, CTRLPF, REFP0, REFP1 = range(13)
PF0, PF1, PF2, RESP0, RESP1, RESM0, RESM1, RESBL = range(0x0D, 0x15)
GRP0, GRP1, ENAM0, ENAM1, ENABL, HMP0, HMP1, HMM0, HMM1, HMBL = range(0x1B, 0x25)
VDELP0, VDELP1, VDELBL, RESMP0, RESMP1, HMOVE, HMCLR, CXCLR = range(0x25, 0x2D)
CXPPMM, INPT0, INPT3, INPT4, INPT5 = 7, 8, 11, 12, 13
NEVER = 2**31 - 1
CYCLES_PER_LINE = 76
REFLECT_UNTIL = 147
"""Position in a line after which a new reflection of the playfield waits for the next line."""

DELAY = np.zeros(64, np.int8)
"""Clocks after which a write is seen."""
DELAY[[VBLANK, REFP0, REFP1, GRP0, GRP1]] = 1
DELAY[[NUSIZ0, NUSIZ1, RESM0, RESM1]] = 8
PLAYFIELD_DELAY = np.array([4, 5, 2, 3], np.int8)
"""As `DELAY`, of PF0 to PF2, by the cycle in the line modulo 4."""


@inlined
def write_tia(m: Any, register: int, value: int, cycle: int, follows_write: int) -> int:
    """Write a register (address bits 0-5); the cycle afterwards."""
    clock = 3 * cycle
    since = clock - m.frame_clock
    if since >= (m.line_limit + 1) * LINE:
        m.stop = 1
    delay = DELAY[register]
    if PF0 <= register <= PF2:
        delay = PLAYFIELD_DELAY[(since % LINE) // 3 & 3]
    m.touched = max(m.touched, clock + delay)
    if register == WSYNC:
        part = since % LINE // 3
        return cycle + CYCLES_PER_LINE - part if part and follows_write == 0 else cycle
    if register <= CTRLPF:
        write_control_or_colour(m, register, value, clock, clock + delay, since % LINE)
    elif register <= PF2:
        write_playfield(m, register, value, clock + delay)
    elif register <= RESBL:
        draw_to(m, clock + delay)
        reset_position(m, register, clock, since % LINE)
    elif register <= ENABL:
        write_graphics(m, register, value, clock + delay)
    elif register <= RESMP1:
        write_motion(m, register, value, clock)
    elif register == HMOVE:
        draw_to(m, clock)
        move(m, clock, since % LINE // 3)
    elif register == HMCLR:
        m.HMP0 = m.HMP1 = m.HMM0 = m.HMM1 = m.HMBL = 0
    elif register == CXCLR:
        draw_to(m, clock)
        m.collisions = m.searched = 0
    return cycle


@inlined
def write_control_or_colour(m: Any, register: int, value: int, clock: int, seen: int, position: int) -> None:
    """The registers up to CTRLPF; `seen` is the clock from which the value counts."""
    if COLUP0 <= register <= COLUBK:
        value &= 0xFE
        if register == COLUBK:
            if value != m.COLUBK:
                draw_to(m, seen)
                m.COLUBK = value
        elif register == COLUPF:
            if value != m.COLUPF:
                draw_to(m, seen)
                m.COLUPF = value
        elif register == COLUP0:
            if value != m.COLUP0:
                draw_to(m, seen)
                m.COLUP0 = value
        elif value != m.COLUP1:
            draw_to(m, seen)
            m.COLUP1 = value
    elif register <= VBLANK:
        write_sync(m, register, value, clock, seen)
    elif register == CTRLPF:
        write_control(m, value, seen, position)
    elif register == NUSIZ0:
        if value != m.NUSIZ0 or m.suppressed_P0:
            draw_to(m, seen)
            m.NUSIZ0, m.suppressed_P0 = value, 0
            m.stale |= 1 << P0 | 1 << M0
    elif register == NUSIZ1 and (value != m.NUSIZ1 or m.suppressed_P1):
        draw_to(m, seen)
        m.NUSIZ1, m.suppressed_P1 = value, 0
        m.stale |= 1 << P1 | 1 << M1


@inlined
def write_sync(m: Any, register: int, value: int, clock: int, seen: int) -> None:
    """VSYNC ends the frame if it was on for a line; VBLANK blanks the picture and discharges the paddles."""
    if register == VBLANK:
        if value == m.VBLANK:
            return
        draw_to(m, seen)
        if m.VBLANK & 0x80 and not value & 0x80:
            m.dump_cycle = clock // 3
        m.VBLANK = value
    elif value & 2:
        m.vsync_finish = clock + LINE
    elif clock >= m.vsync_finish:
        m.vsync_finish = NEVER
        m.stop = 1


@inlined
def write_control(m: Any, value: int, seen: int, position: int) -> None:
    """CTRLPF: the playfield's reflection, score colours and priority, and the ball's width."""
    if value == m.CTRLPF and m.reflected == value & 1:
        return
    draw_to(m, seen)
    m.CTRLPF = value
    m.stale |= 1 << BL
    if position < REFLECT_UNTIL:
        m.reflected = value & 1
        m.stale |= 1 << PF


@inlined
def write_playfield(m: Any, register: int, value: int, seen: int) -> None:
    """REFP0, REFP1: the players mirrored; PF0, PF1, PF2: the playfield."""
    if register == REFP0:
        if (m.REFP0 ^ value) & 8:
            draw_to(m, seen)
            m.REFP0 = value
            m.stale |= 1 << P0
    elif register == REFP1:
        if (m.REFP1 ^ value) & 8:
            draw_to(m, seen)
            m.REFP1 = value
            m.stale |= 1 << P1
    elif register == PF0:
        if value != m.PF0:
            draw_to(m, seen)
            m.PF0 = value
            m.stale |= 1 << PF
    elif register == PF1:
        if value != m.PF1:
            draw_to(m, seen)
            m.PF1 = value
            m.stale |= 1 << PF
    elif value != m.PF2:
        draw_to(m, seen)
        m.PF2 = value
        m.stale |= 1 << PF


@inlined
def reset_position(m: Any, register: int, clock: int, position: int) -> None:
    """RESP0 to RESBL: an object begins where the beam is."""
    if register <= RESP1:
        place_player(m, register - RESP0, clock, position)
    elif register <= RESM1:
        place_missile(m, register - RESM0, clock - m.hmove_clock, position)
    else:
        place_ball(m, clock - m.hmove_clock, position)


@inlined
def write_graphics(m: Any, register: int, value: int, seen: int) -> None:
    """GRP0 and GRP1, each of which also latches the other's delayed copy, and the enabling of missiles and ball."""
    if register == GRP0:
        if value != m.GRP0 or m.old_GRP1 != m.GRP1:
            draw_to(m, seen)
            m.GRP0, m.old_GRP1 = value, m.GRP1
            m.stale |= 1 << P0 | 1 << P1
    elif register == GRP1:
        if value != m.GRP1 or m.old_GRP0 != m.GRP0 or m.old_ENABL != m.ENABL:
            draw_to(m, seen)
            m.GRP1, m.old_GRP0, m.old_ENABL = value, m.GRP0, m.ENABL
            m.stale |= 1 << P0 | 1 << P1 | 1 << BL
    elif register == ENAM0:
        if (m.ENAM0 ^ value) & 2:
            draw_to(m, seen)
            m.ENAM0 = value
            m.stale |= 1 << M0
    elif register == ENAM1:
        if (m.ENAM1 ^ value) & 2:
            draw_to(m, seen)
            m.ENAM1 = value
            m.stale |= 1 << M1
    elif register == ENABL and (m.ENABL ^ value) & 2:
        draw_to(m, seen)
        m.ENABL = value
        m.stale |= 1 << BL


@inlined
def write_motion(m: Any, register: int, value: int, clock: int) -> None:
    """HMP0 to HMBL, the vertical delays, and missiles locked to players."""
    if register <= HMBL:
        speed = value >> 4
        if register == HMP0:
            m.HMP0 = speed
        elif register == HMP1:
            m.HMP1 = speed
        elif register == HMM0:
            m.HMM0 = speed
        elif register == HMM1:
            m.HMM1 = speed
        else:
            m.HMBL = speed
        return
    draw_to(m, clock)
    if register == VDELP0:
        m.VDELP0 = value & 1
        m.stale |= 1 << P0
    elif register == VDELP1:
        m.VDELP1 = value & 1
        m.stale |= 1 << P1
    elif register == VDELBL:
        m.VDELBL = value & 1
        m.stale |= 1 << BL
    else:
        release_missile(m, register - RESMP0, value)


@rule
def read_tia(m: Any, register: int, cycle: int) -> int:
    """A collision register or an input in bits 7 and 6; the bus keeps the others."""
    stay_apart()
    low = m.bus & 0x3F
    m.touched = max(m.touched, 3 * cycle)
    if register <= CXPPMM:
        draw_to(m, 3 * cycle)
        return (m.collisions >> 2 * register & 3) << 6 | low  # type: ignore[no-any-return]
    if register <= INPT3:
        return (0x80 if is_charged(m, register - INPT0, cycle) else 0) | low  # type: ignore[no-any-return]
    if register <= INPT5:
        return (m.INPT4 if register == INPT4 else m.INPT5) | low  # type: ignore[no-any-return]
    return low  # type: ignore[no-any-return]


@rule
def is_charged(m: Any, port: int, cycle: int) -> bool:
    """Whether a paddle's capacitor is charged, which takes the longer the greater the resistance."""
    resistance = m.resistance[port]
    if resistance == 0:
        return True
    if resistance < 0 or m.VBLANK & 0x80:
        return False
    needed = np.int64((1.6 * resistance * 0.01e-6) * 1.19e6)
    full = m.dump_cycle + needed
    return full >= 0 and cycle > full  # type: ignore[no-any-return]


@rule
def reset_tia(m: Any) -> None:
    """All registers, positions and latches 0, both pictures black."""
    stay_apart()
    m.VSYNC = m.VBLANK = m.NUSIZ0 = m.NUSIZ1 = m.COLUP0 = m.COLUP1 = m.COLUPF = m.COLUBK = m.CTRLPF = 0
    m.REFP0 = m.REFP1 = m.PF0 = m.PF1 = m.PF2 = m.GRP0 = m.GRP1 = m.ENAM0 = m.ENAM1 = m.ENABL = 0
    m.HMP0 = m.HMP1 = m.HMM0 = m.HMM1 = m.HMBL = m.VDELP0 = m.VDELP1 = m.VDELBL = m.RESMP0 = m.RESMP1 = 0
    m.old_GRP0 = m.old_GRP1 = m.old_ENABL = m.x_P0 = m.x_P1 = m.x_M0 = m.x_M1 = m.x_BL = 0
    m.suppressed_P0 = m.suppressed_P1 = m.reflected = m.comb = m.collisions = m.searched = 0
    m.dump_cycle = m.hmove_clock = m.frame_clock = 0
    m.vsync_finish = NEVER
    m.stale = (1 << OBJECTS) - 1
    for group in range(len(m.screen)):
        m.screen[group] = np.uint64(0)
