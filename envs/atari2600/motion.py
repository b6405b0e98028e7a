"""Where the TIA's objects are: RESxx, HMOVE, and missiles that players carry."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart
from gymnast.envs.atari2600.machine import BL, M0, M1, P0, P1, WIDTH
from gymnast.envs.atari2600.objects import COPIES
from gymnast.envs.atari2600.picture import draw_to

BLANK = 68
"""Clocks of a line before its first pixel."""
SIZE = np.array([8, 8, 8, 8, 8, 16, 8, 32], np.int8)
"""Width of a player's copy by NUSIZ bits 0-2."""
AHEAD, AFTER = 4, 11
"""Pixels before a copy in which it is about to start; clocks to which a started one is completed."""
CENTRE = np.array([4, 4, 4, 4, 4, 8, 4, 16], np.int8)
"""Of a player, where it releases its missile, by NUSIZ bits 0-2."""

_EARLY = (-6, -5, -5, -4, -3, -2, -2, -1, 0, 1, 1, 2, 3, 4, 4, 5, 6)
_LATE = (6, 5, 4, 4, 3, 2, 1, 1, 0, -1, -2, -2, -3, -4, -5, -5, -6, -7, -8, -8)


def _motion(cycle: int, speed: int) -> int:
    """What HMOVE at a cycle of a line adds to a position whose motion register's high nibble is `speed`."""
    full = -(speed if speed < 8 else speed - 16)
    if cycle < 4 or cycle == 75:
        return full
    if cycle <= 20:
        return max(full, _EARLY[cycle - 4])
    return 0 if cycle < 55 else min(0, full + _LATE[cycle - 55])


MOTION = np.array([[_motion(cycle, speed) for speed in range(16)] for cycle in range(76)], np.int8)
COMB_UNTIL, COMB_AGAIN = 20, 75
"""HMOVE up to this cycle, and at the line's last one, blanks the next 8 pixels that begin a line."""


@rule
def place_player(m: Any, player: int, clock: int, position: int) -> None:
    """RESP0, RESP1: the first copy is not drawn until the line ends, unless it was just about to start."""
    stay_apart()
    new = 3 if position < BLANK else (position - BLANK + 5) % WIDTH
    old, size = (m.x_P1, m.NUSIZ1 & 7) if player else (m.x_P0, m.NUSIZ0 & 7)
    starting, inside = 0, 0
    for copy in range(3):
        offset = COPIES[size, copy]
        if offset >= 0:
            distance = (new - old - offset + 2 * WIDTH) % WIDTH
            if distance < AHEAD:
                starting, inside = 1, 0
            elif distance < AHEAD + SIZE[size]:
                starting, inside = 0, 1
    if inside:
        draw_to(m, clock + AFTER)
    if player:
        m.x_P1, m.suppressed_P1 = new, 1 - starting
        m.stale |= 1 << P1
    else:
        m.x_P0, m.suppressed_P0 = new, 1 - starting
        m.stale |= 1 << P0


@rule
def place_missile(m: Any, missile: int, since_hmove: int, position: int) -> None:
    """RESM0, RESM1."""
    new = 2 if position < BLANK else (position - BLANK + 4) % WIDTH
    if missile:
        if since_hmove == 9 and position == 18:
            new = 3
        m.x_M1 = new
        m.stale |= 1 << M1
    else:
        if since_hmove == 60 and position == 69:
            new = 8
        m.x_M0 = new
        m.stale |= 1 << M0


@rule
def place_ball(m: Any, since_hmove: int, position: int) -> None:
    """RESBL."""
    new = 2 if position < BLANK else (position - BLANK + 4) % WIDTH
    if since_hmove == 54 and (position == 60 or position == 69):
        new = 10
    elif since_hmove == 9 and position == 18:
        new = 3
    elif since_hmove == 21 and position == 30:
        new = 6
    elif since_hmove == 18 and position == 27:
        new = 5
    m.x_BL = new
    m.stale |= 1 << BL


@rule
def release_missile(m: Any, missile: int, value: int) -> None:
    """RESMP0, RESMP1: while bit 1 is set the missile is hidden; then it starts from the player's centre."""
    stay_apart()
    locked = value & 2
    if missile:
        if m.RESMP1 and not locked:
            m.x_M1 = (m.x_P1 + CENTRE[m.NUSIZ1 & 7]) % WIDTH
        m.RESMP1 = locked
        m.stale |= 1 << M1
    else:
        if m.RESMP0 and not locked:
            m.x_M0 = (m.x_P0 + CENTRE[m.NUSIZ0 & 7]) % WIDTH
        m.RESMP0 = locked
        m.stale |= 1 << M0


@rule
def move(m: Any, clock: int, cycle: int) -> None:
    """HMOVE at a cycle of the line: every object moves by its motion register, at once."""
    stay_apart()
    if m.hmove_blanks and (cycle <= COMB_UNTIL or cycle == COMB_AGAIN):
        m.comb = 1
    m.x_P0 = moved(m, P0, m.x_P0, MOTION[cycle, m.HMP0])
    m.x_P1 = moved(m, P1, m.x_P1, MOTION[cycle, m.HMP1])
    m.x_M0 = moved(m, M0, m.x_M0, MOTION[cycle, m.HMM0])
    m.x_M1 = moved(m, M1, m.x_M1, MOTION[cycle, m.HMM1])
    m.x_BL = moved(m, BL, m.x_BL, MOTION[cycle, m.HMBL])
    m.stale |= (1 << P0 if m.suppressed_P0 else 0) | (1 << P1 if m.suppressed_P1 else 0)
    m.suppressed_P0 = m.suppressed_P1 = 0
    m.hmove_clock = clock


@inlined
def moved(m: Any, number: int, x: int, motion: int) -> int:
    """An object's position after its motion."""
    if motion == 0:
        return x
    m.stale |= 1 << number
    return wrapped(x + motion)


@rule
def wrapped(x: int) -> int:
    """A position up to a line's width too far to either side, from 0 to 159."""
    if x < 0:
        return x + WIDTH
    return x - WIDTH if x >= WIDTH else x
