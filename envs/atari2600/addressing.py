"""Instructions and their operands: fetching, and the 6507's addressing modes.

Each mode moves the program counter by the constant that is the instruction's length, which is in its number too: a
processor that has predicted the branch then fetches the next instruction without waiting for this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600 import decode as d
from gymnast.envs.atari2600.bus import read, read_byte
from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart
from gymnast.envs.atari2600.decode import INSTRUCTION


@rule
def fetch(m: Any, rom: Any, pc: int, cycle: int) -> Any:
    """The instruction at an address, byte by byte: where each byte may switch banks, and outside the cartridge."""
    stay_apart()
    last = read_byte(m, rom, pc, cycle)
    word = INSTRUCTION[last]
    cycle += np.int64(word >> d.CYCLES_AT & d.NIBBLE)
    for byte in range(1, np.int64(word >> d.LENGTH_AT & d.TWO_BITS)):
        last = read_byte(m, rom, (pc + byte) & 0xFFFF, cycle)
        word |= np.uint64(last) << np.uint64(8 * byte)
    return word | np.uint64(last) << d.LAST_AT


@inlined
def load(m: Any, rom: Any, mode: int, operand: int, pc: int, x: int, y: int, cycle: int) -> tuple[int, int, int]:
    """The byte that an instruction reads, the program counter after it, and the cycle at which it reads."""
    if mode == d.IMM:
        return operand, (pc + 2) & 0xFFFF, cycle
    if mode == d.ZP and operand & 0x80:  # RAM, without looking for the chip
        m.bus = m.RAM[operand & 0x7F]
        return np.int64(m.RAM[operand & 0x7F]), (pc + 2) & 0xFFFF, cycle
    address, pc, crossed = locate(m, rom, mode, operand, pc, x, y, cycle)
    return read(m, rom, address, cycle + crossed), pc, cycle + crossed


@inlined
def locate(m: Any, rom: Any, mode: int, operand: int, pc: int, x: int, y: int, cycle: int) -> tuple[int, int, int]:
    """The address that an operand means, the program counter after it, and 1 if an index crossed a page."""
    after_two, after_three = (pc + 2) & 0xFFFF, (pc + 3) & 0xFFFF
    if mode == d.ZP:
        return operand, after_two, 0
    if mode == d.ZPX:
        return (operand + x) & 0xFF, after_two, 0
    if mode == d.ZPY:
        return (operand + y) & 0xFF, after_two, 0
    if mode == d.ABS:
        return operand, after_three, 0
    if mode == d.ABX:
        address, crossed = indexed(operand, x)
        return address, after_three, crossed
    if mode == d.ABY:
        address, crossed = indexed(operand, y)
        return address, after_three, crossed
    if mode == d.IZY:
        address, crossed = indexed(pointed(m, rom, operand, cycle), y)
        return address, after_two, crossed
    return pointed(m, rom, (operand + x) & 0xFF, cycle), after_two, 0


@inlined
def indexed(base: int, index: int) -> tuple[int, int]:
    """The sum, and 1 if it is in another page than the base."""
    address = (base + index) & 0xFFFF
    return address, 1 if (address ^ base) & 0xFF00 else 0


@inlined
def pointed(m: Any, rom: Any, pointer: int, cycle: int) -> int:
    """The address in two bytes of page zero."""
    if 0x80 <= pointer < 0xFF:
        low, high = np.int64(m.RAM[pointer & 0x7F]), np.int64(m.RAM[(pointer & 0x7F) + 1])
        m.bus = high
        return low | high << 8  # type: ignore[no-any-return]
    return pointed_outside(m, rom, pointer, cycle)


@rule
def pointed_outside(m: Any, rom: Any, pointer: int, cycle: int) -> int:
    """`pointed`, where not both bytes are RAM."""
    stay_apart()
    low = read_byte(m, rom, pointer, cycle)
    return low | read_byte(m, rom, pointer + 1, cycle) << 8
