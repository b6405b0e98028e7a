"""The 6507's arithmetic and logic: pure functions of operands and flags, undocumented operations included.

Values are 0 to 255. N is a value whose bit 7 is the flag, Z one that is 0 if the flag is set; V, C, D are 0 or 1.
"""

from __future__ import annotations

from gymnast.envs.atari2600 import decode as d
from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart


@rule
def digits(value: int) -> int:
    """The number of two decimal digits, invalid ones too."""
    return 10 * (value >> 4) + (value & 15)


@rule
def packed(number: int) -> int:
    """Two decimal digits of a number from 0 to 99."""
    return (number // 10) << 4 | number % 10


@rule
def add(a: int, value: int, carry: int, decimal: int) -> tuple[int, int, int]:
    """ADC: the sum, V and C."""
    if decimal:
        total = digits(a) + digits(value) + carry
        result, carry = packed((total & 0xFF) % 100), 1 if total > 99 else 0
    else:
        total = a + value + carry
        result, carry = total & 0xFF, total >> 8
    return result, ((a ^ result) & (value ^ result)) >> 7, carry


@rule
def subtract(a: int, value: int, carry: int, decimal: int) -> tuple[int, int, int]:
    """SBC: the difference, V and C."""
    if not decimal:
        return add(a, value ^ 0xFF, carry, 0)
    difference = digits(a) - digits(value) - (1 - carry)
    if difference < 0:
        difference += 100
    result = digits(256 + difference) & 0xFF if difference < 0 else packed(difference % 100)
    no_borrow = 1 if a >= value + 1 - carry else 0
    return result, ((a ^ result) & (value ^ result)) >> 7, no_borrow


@rule
def rotate_and(a: int, value: int, carry: int, decimal: int) -> tuple[int, int, int, int]:
    """ARR: the result, N, V and C."""
    both = a & value
    result = both >> 1 | carry << 7
    if not decimal:
        return result, result, (result >> 6 ^ result >> 5) & 1, result >> 6 & 1
    overflow = (both ^ result) >> 6 & 1
    rotated = result
    if (both & 0x0F) + (both & 1) > 5:
        result = result & 0xF0 | (result + 6) & 0x0F
    if (both & 0xF0) + (both & 0x10) > 0x50:
        return (result + 0x60) & 0xFF, rotated, overflow, 1
    return result, rotated, overflow, 0


@inlined
def compare(register: int, value: int) -> tuple[int, int]:
    """CMP, CPX, CPY: N and Z as one value, and C."""
    return (register - value) & 0xFF, 1 if register >= value else 0


@inlined
def shift(op: int, value: int, carry: int) -> tuple[int, int]:
    """ASL, LSR, ROL, ROR: the result and C."""
    if op == d.ASL:
        return value << 1 & 0xFF, value >> 7
    if op == d.LSR:
        return value >> 1, value & 1
    if op == d.ROL:
        return (value << 1 | carry) & 0xFF, value >> 7
    return value >> 1 | carry << 7, value & 1


@rule
def change(
    op: int, value: int, a: int, n: int, z: int, v: int, c: int, decimal: int
) -> tuple[int, int, int, int, int, int]:
    """A read-modify-write operation: the byte to write, then A, N, Z, V, C."""
    stay_apart()
    if op == d.INC or op == d.DEC:
        value = (value + (1 if op == d.INC else -1)) & 0xFF
        return value, a, value, value, v, c
    if op <= d.ROR:
        value, c = shift(op, value, c)
        return value, a, value, value, v, c
    if op == d.DCP:
        value = (value - 1) & 0xFF
        n, c = compare(a, value)
        return value, a, n, n, v, c
    if op == d.ISB:
        value = (value + 1) & 0xFF
        a, v, c = subtract(a, value, c, decimal)
        return value, a, a, a, v, c
    if op == d.SLO:
        value, c = shift(d.ASL, value, c)
        a |= value
    elif op == d.RLA:
        value, c = shift(d.ROL, value, c)
        a &= value
    elif op == d.SRE:
        value, c = shift(d.LSR, value, c)
        a ^= value
    else:  # RRA
        value, c = shift(d.ROR, value, c)
        a, v, c = add(a, value, c, decimal)
    return value, a, a, a, v, c
