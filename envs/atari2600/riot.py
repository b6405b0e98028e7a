"""The RIOT (6532): ports and timer; its RAM is in the machine's record."""

from __future__ import annotations

from typing import Any

from gymnast.envs.atari2600.compiling import rule


@rule
def reset_riot(m: Any, number: int) -> None:
    """The state after a system reset, with a random number for the timer; RAM keeps its contents."""
    m.timer, m.timer_shift, m.timer_set, m.timer_latched = 25 + number % 75, 6, 0, 0
    m.SWACNT = 0


@rule
def read_riot(m: Any, address: int, cycle: int) -> int:
    """A byte of SWCHA, SWACNT, SWCHB, INTIM or INSTAT at a cycle."""
    register = address & 7
    if register >= 4:
        return read_instat(m, cycle) if register & 1 else read_intim(m, cycle)
    if register == 0:
        return m.SWCHA  # type: ignore[no-any-return]
    if register == 1:
        return m.SWACNT  # type: ignore[no-any-return]
    return m.SWCHB if register == 2 else 0


@rule
def read_intim(m: Any, cycle: int) -> int:
    """The timer: it counts intervals until it expires, then cycles, from the first read on."""
    elapsed = (cycle - 1 - m.timer_set) >> m.timer_shift
    left = m.timer - elapsed - 1
    if left >= 0:
        return left  # type: ignore[no-any-return]
    expiry = m.timer_set + (m.timer << m.timer_shift)
    if m.timer_latched == 0:
        if cycle == expiry + 1:
            return 255
        m.timer_latched, m.timer_read = 1, cycle
    return (m.timer - elapsed - (m.timer_read - expiry)) & 0xFF  # type: ignore[no-any-return]


@rule
def read_instat(m: Any, cycle: int) -> int:
    """Bit 7 from the timer's expiry until it is read."""
    left = m.timer - ((cycle - 1 - m.timer_set) >> m.timer_shift) - 1
    return 0 if left >= 0 or m.timer_latched else 0x80


@rule
def write_riot(m: Any, address: int, value: int, cycle: int) -> None:
    """TIM1T, TIM8T, TIM64T, T1024T and SWACNT; the ports have no outputs that anything sees."""
    if address & 0x14 == 0x14:
        interval = address & 3
        m.timer_shift = 10 if interval == 3 else 3 * interval
        m.timer, m.timer_set, m.timer_latched = value, cycle, 0
    elif address & 7 == 1:
        m.SWACNT = value
