"""The 6507: fetch, decode, execute, with the registers in local variables for a whole frame.

All of an instruction's cycles are added before its operands are read, so that its accesses happen at its end; cycles
of a crossed page or a taken branch are added when they are known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600 import decode as d
from gymnast.envs.atari2600.addressing import fetch, load, locate
from gymnast.envs.atari2600.alu import add, change, compare, rotate_and, subtract
from gymnast.envs.atari2600.bus import read, read_byte, shown, write, write_byte
from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart
from gymnast.envs.atari2600.decode import MODE, OPERATION

BUDGET = 25_000
"""Instructions of a frame at most."""
BACK_ONE = 0xFB
"""The offset of a branch to the three-byte instruction before it."""
STACK = 0x100


@rule
def reset_processor(m: Any, rom: Any) -> None:
    """The registers at power-on and system reset; execution begins at the reset vector."""
    stay_apart()
    m.A = m.X = m.Y = m.V = m.C = m.D = m.I = m.N = m.cycle = m.jammed = 0
    m.Z, m.SP = 1, 0xFF
    m.PC = read_byte(m, rom, 0xFFFC, 0) | read_byte(m, rom, 0xFFFD, 0) << 8


@rule
def execute(m: Any, rom: Any) -> None:
    """Instructions until something ends the frame (`m.stop`), or the budget is used up."""
    stay_apart()
    a, x, y, sp, pc = m.A, m.X, m.Y, m.SP, m.PC
    n, z, v, c, decimal, i = m.N, m.Z, m.V, m.C, m.D, m.I
    cycle, count = m.cycle, BUDGET
    while count > 0 and m.stop == 0 and m.jammed == 0:
        count -= 1
        word = shown(m, rom, pc)
        if word <= d.BYTE:
            word = fetch(m, rom, pc, cycle)
        m.bus = word >> d.LAST_AT
        cycle += np.int64(word >> d.CYCLES_AT & d.NIBBLE)
        op, mode = np.int64(word >> d.OPERATION_AT & d.BYTE), np.int64(word >> d.MODE_AT & d.NIBBLE)
        operand = np.int64(word >> d.OPERAND_AT & d.TWO_BYTES)
        if op <= d.LAS:
            value, pc, cycle = load(m, rom, mode, operand, pc, x, y, cycle)
            a, x, y, sp, n, z, v, c = absorb(op, value, a, x, y, sp, n, z, v, c, decimal)
        elif op <= d.SHS:
            address, pc, _ = locate(m, rom, mode, operand, pc, x, y, cycle)
            if op == d.SHS:
                sp = a & x
            cycle = write(m, address, stored(op, address, a, x, y), cycle, 0)
        elif op <= d.BEQ:
            pc = (pc + 2) & 0xFFFF
            if taken(op, n, z, v, c):
                target = (pc + (operand ^ 0x80) - 0x80) & 0xFFFF
                cycle += 1 if (target ^ pc) & 0xFF00 == 0 else 2
                pc = target
                if operand == BACK_ONE:
                    cycle, count = wait(m, rom, pc, a, x, y, sp, n, z, v, c, cycle, count)
        elif op <= d.PASS:
            pc = (pc + 1) & 0xFFFF
            a, x, y, sp, n, z, v, c, decimal, i = imply(op, a, x, y, sp, n, z, v, c, decimal, i)
        elif op <= d.ISB:
            if mode == d.ACC:
                pc = (pc + 1) & 0xFFFF
                a, _, n, z, v, c = change(op, a, a, n, z, v, c, decimal)
            else:
                address, pc, _ = locate(m, rom, mode, operand, pc, x, y, cycle)
                value = read(m, rom, address, cycle)
                value, a, n, z, v, c = change(op, value, a, n, z, v, c, decimal)
                cycle = write(m, address, value, cycle, 0)
        elif op <= d.PLP:
            pc = (pc + 1) & 0xFFFF
            a, sp, n, z, v, c, decimal, i, cycle = push_or_pull(m, rom, op, a, sp, n, z, v, c, decimal, i, cycle)
        elif op == d.JMP:
            pc = jump_indirectly(m, rom, operand, cycle) if mode == d.IND else operand
        elif op == d.JSR:
            pc, sp, cycle = call(m, rom, (pc + 2) & 0xFFFF, sp, cycle, operand)
        elif op == d.RTS:
            pc, sp = come_back(m, rom, sp, cycle, 0)
            read_byte(m, rom, pc, cycle)
            pc = (pc + 1) & 0xFFFF
        elif op == d.RTI:
            sp, value = pull(m, rom, sp, cycle)
            n, z, v, c, decimal, i = unpacked(value)
            pc, sp = come_back(m, rom, sp, cycle, 1)
        elif op == d.BRK:
            pc, sp, cycle = interrupt(m, rom, (pc + 2) & 0xFFFF, sp, cycle, flags(n, z, v, c, decimal, i))
            i = 1
        else:
            m.jammed, pc = 1, (pc + 1) & 0xFFFF
    m.A, m.X, m.Y, m.SP, m.PC = a, x, y, sp, pc
    m.N, m.Z, m.V, m.C, m.D, m.I = n, z, v, c, decimal, i
    m.cycle = cycle


@inlined
def absorb(
    op: int, value: int, a: int, x: int, y: int, sp: int, n: int, z: int, v: int, c: int, decimal: int
) -> tuple[int, int, int, int, int, int, int, int]:
    """An operation that reads a byte: A, X, Y, SP, N, Z, V, C."""
    if op == d.LDA:
        return value, x, y, sp, value, value, v, c
    if op == d.LDX:
        return a, value, y, sp, value, value, v, c
    if op == d.LDY:
        return a, x, value, sp, value, value, v, c
    if op == d.CMP:
        n, c = compare(a, value)
        return a, x, y, sp, n, n, v, c
    if op == d.CPX:
        n, c = compare(x, value)
        return a, x, y, sp, n, n, v, c
    if op == d.CPY:
        n, c = compare(y, value)
        return a, x, y, sp, n, n, v, c
    if op == d.BIT:
        return a, x, y, sp, value, a & value, value >> 6 & 1, c
    if op == d.ADC:
        a, v, c = add(a, value, c, decimal)
    elif op == d.SBC:
        a, v, c = subtract(a, value, c, decimal)
    elif op == d.AND:
        a &= value
    elif op == d.ORA:
        a |= value
    elif op == d.EOR:
        a ^= value
    else:
        return absorb_undocumented(op, value, a, x, y, sp, n, z, v, c, decimal)
    return a, x, y, sp, a, a, v, c


@rule
def absorb_undocumented(
    op: int, value: int, a: int, x: int, y: int, sp: int, n: int, z: int, v: int, c: int, decimal: int
) -> tuple[int, int, int, int, int, int, int, int]:
    """As `absorb`, of the operations that no manual lists."""
    stay_apart()
    if op == d.NOP:
        return a, x, y, sp, n, z, v, c
    if op == d.SBX:
        n, c = compare(a & x, value)
        return a, n, y, sp, n, n, v, c
    if op == d.ARR:
        a, n, v, c = rotate_and(a, value, c, decimal)
        return a, x, y, sp, n, n if decimal else a, v, c
    if op == d.LAX:
        a = x = value
    elif op == d.LAS:
        a = x = sp = sp & value
    elif op == d.LXA:
        a = x = (a | 0xEE) & value
    elif op == d.ANE:
        a = (a | 0xEE) & x & value
    elif op == d.ANC:
        a &= value
        c = a >> 7
    else:  # ASR
        a &= value
        c = a & 1
        a >>= 1
    return a, x, y, sp, a, a, v, c


@inlined
def stored(op: int, address: int, a: int, x: int, y: int) -> int:
    """The byte of a store."""
    if op == d.STA:
        return a
    if op == d.STX:
        return x
    if op == d.STY:
        return y
    if op == d.SAX:
        return a & x
    high = ((address >> 8) + 1) & 0xFF
    return (x if op == d.SHX else (y if op == d.SHY else a & x)) & high


@inlined
def taken(op: int, n: int, z: int, v: int, c: int) -> bool:
    """Whether a branch is taken."""
    if op == d.BNE:
        return z != 0
    if op == d.BEQ:
        return z == 0
    if op == d.BPL:
        return n & 0x80 == 0
    if op == d.BMI:
        return n & 0x80 != 0
    if op == d.BCC:
        return c == 0
    if op == d.BCS:
        return c != 0
    return (v != 0) == (op == d.BVS)


@inlined
def imply(
    op: int, a: int, x: int, y: int, sp: int, n: int, z: int, v: int, c: int, decimal: int, i: int
) -> tuple[int, int, int, int, int, int, int, int, int, int]:
    """An operation on registers and flags: A, X, Y, SP, N, Z, V, C, D, I."""
    if op == d.DEX or op == d.INX:
        x = n = z = (x + (1 if op == d.INX else -1)) & 0xFF
    elif op == d.DEY or op == d.INY:
        y = n = z = (y + (1 if op == d.INY else -1)) & 0xFF
    elif op == d.TAX or op == d.TSX:
        x = n = z = a if op == d.TAX else sp
    elif op == d.TXA or op == d.TYA:
        a = n = z = x if op == d.TXA else y
    elif op == d.TAY:
        y = n = z = a
    elif op == d.TXS:
        sp = x
    elif op == d.CLC or op == d.SEC:
        c = 1 if op == d.SEC else 0
    elif op == d.CLI or op == d.SEI:
        i = 1 if op == d.SEI else 0
    elif op == d.CLD or op == d.SED:
        decimal = 1 if op == d.SED else 0
    elif op == d.CLV:
        v = 0
    return a, x, y, sp, n, z, v, c, decimal, i


@inlined
def flags(n: int, z: int, v: int, c: int, decimal: int, i: int) -> int:
    """The status byte as PHP and BRK push it."""
    return n & 0x80 | v << 6 | 0x30 | decimal << 3 | i << 2 | (2 if z == 0 else 0) | c


@inlined
def unpacked(value: int) -> tuple[int, int, int, int, int, int]:
    """N, Z, V, C, D, I of a status byte."""
    return value, ~value & 2, value >> 6 & 1, value & 1, value >> 3 & 1, value >> 2 & 1


@inlined
def push_or_pull(
    m: Any, rom: Any, op: int, a: int, sp: int, n: int, z: int, v: int, c: int, decimal: int, i: int, cycle: int
) -> tuple[int, int, int, int, int, int, int, int, int]:
    """PHA, PHP, PLA, PLP: A, SP, N, Z, V, C, D, I and the cycle."""
    if op == d.PHA or op == d.PHP:
        value = a if op == d.PHA else flags(n, z, v, c, decimal, i)
        cycle = write_byte(m, STACK + sp, value, cycle, 0)
        return a, (sp - 1) & 0xFF, n, z, v, c, decimal, i, cycle
    sp, value = pull(m, rom, sp, cycle)
    if op == d.PLA:
        return value, sp, value, value, v, c, decimal, i, cycle
    n, z, v, c, decimal, i = unpacked(value)
    return a, sp, n, z, v, c, decimal, i, cycle


@rule
def pull(m: Any, rom: Any, sp: int, cycle: int) -> tuple[int, int]:
    """The stack pointer and the byte after a pull, before which the processor reads the byte at the old pointer."""
    stay_apart()
    read_byte(m, rom, STACK + sp, cycle)
    sp = (sp + 1) & 0xFF
    return sp, read_byte(m, rom, STACK + sp, cycle)


@rule
def jump_indirectly(m: Any, rom: Any, pointer: int, cycle: int) -> int:
    """JMP through two bytes of one page: where it goes."""
    stay_apart()
    low = read_byte(m, rom, pointer, cycle)
    return low | read_byte(m, rom, pointer & 0xFF00 | (pointer + 1) & 0xFF, cycle) << 8


@rule
def call(m: Any, rom: Any, pc: int, sp: int, cycle: int, low: int) -> tuple[int, int, int]:
    """JSR: the program counter, stack pointer and cycle; what is pushed is the address of its own last byte."""
    stay_apart()
    read_byte(m, rom, STACK + sp, cycle)
    cycle = write_byte(m, STACK + sp, pc >> 8, cycle, 0)
    sp = (sp - 1) & 0xFF
    cycle = write_byte(m, STACK + sp, pc & 0xFF, cycle, 1)
    return low | read_byte(m, rom, pc, cycle) << 8, (sp - 1) & 0xFF, cycle


@rule
def come_back(m: Any, rom: Any, sp: int, cycle: int, has_read: int) -> tuple[int, int]:
    """The program counter that RTS and RTI pull, and the stack pointer; RTI has read the old byte before."""
    stay_apart()
    if has_read == 0:
        read_byte(m, rom, STACK + sp, cycle)
    sp = (sp + 1) & 0xFF
    low = read_byte(m, rom, STACK + sp, cycle)
    sp = (sp + 1) & 0xFF
    return low | read_byte(m, rom, STACK + sp, cycle) << 8, sp


@rule
def interrupt(m: Any, rom: Any, pc: int, sp: int, cycle: int, status: int) -> tuple[int, int, int]:
    """BRK: the program counter, stack pointer and cycle; `pc` is after the byte that follows its opcode."""
    stay_apart()
    cycle = write_byte(m, STACK + sp, pc >> 8, cycle, 0)
    cycle = write_byte(m, STACK + ((sp - 1) & 0xFF), pc & 0xFF, cycle, 1)
    cycle = write_byte(m, STACK + ((sp - 2) & 0xFF), status, cycle, 1)
    return read_byte(m, rom, 0xFFFE, cycle) | read_byte(m, rom, 0xFFFF, cycle) << 8, (sp - 3) & 0xFF, cycle


@rule
def wait(
    m: Any, rom: Any, pc: int, a: int, x: int, y: int, sp: int, n: int, z: int, v: int, c: int, cycle: int, count: int
) -> tuple[int, int]:
    """Skip rounds of a loop that only reads INTIM while the timer stays the same: the cycle and the budget after them.

    The loop is an instruction that reads the timer, and a branch back to it that was just taken. A round that reads a
    number which leaves all registers as they are changes nothing but the time.
    """
    stay_apart()
    if pc & 0x1000 == 0:
        return cycle, count
    opcode = read_byte(m, rom, pc, cycle)
    address = read_byte(m, rom, pc + 1, cycle) | read_byte(m, rom, pc + 2, cycle) << 8
    op = OPERATION[opcode]
    if MODE[opcode] != d.ABS or op > d.BIT or address & 0x1285 != 0x284:
        return cycle, count
    elapsed = cycle + 4 - 1 - m.timer_set  # when the next round reads it
    intervals = elapsed >> m.timer_shift
    value = m.timer - intervals - 1
    if value < 0 or absorb(op, value, a, x, y, sp, n, z, v, c, 0) != (a, x, y, sp, n, z, v, c):
        return cycle, count
    length = 7 if (pc ^ (pc + 5)) & 0xFF00 == 0 else 8
    same = (intervals + 1 << m.timer_shift) - 1 - elapsed  # cycles for which later rounds read the same
    rounds = min(same // length + 1, count // 2 - 1)
    return cycle + rounds * length, count - 2 * rounds
