"""The 6507's instruction set as tables: operation, addressing mode and cycles of each of the 256 opcodes.

An instruction is one number, uint64, with these fields, so that the processor fetches it at once wherever it can.

| bits | |
| --- | --- |
| 0-7 | the opcode, or data |
| 8-23 | the operand, its high byte 0 if it has one byte only |
| 24-31 | the operation |
| 32-35 | the addressing mode |
| 36-39 | cycles |
| 40-41 | bytes that are fetched; of JSR two, since it reads its last byte after its writes |
| 42-49 | the byte that is fetched last, which the bus keeps |
"""

from __future__ import annotations

import numpy as np

# Operations, in groups that the processor tells apart by their limits: they read a byte, store one, branch, have
# no operand, change a byte, use the stack, jump.
_NAMES = """
LDA LDX LDY CMP CPX CPY BIT AND ORA EOR ADC SBC LAX NOP ANC ASR SBX ANE LXA ARR LAS
STA STX STY SAX SHA SHX SHY SHS
BPL BMI BVC BVS BCC BCS BNE BEQ
DEX DEY INX INY TAX TAY TXA TYA TSX TXS CLC SEC CLI SEI CLV CLD SED PASS
INC DEC ASL LSR ROL ROR SLO RLA SRE RRA DCP ISB
PHA PHP PLA PLP
JMP JSR RTS RTI BRK JAM
"""
_MODES = "imp acc imm rel zp zpx zpy izx izy abs abx aby ind"
NAMES, MODES = _NAMES.split(), _MODES.split()

LDA, LDX, LDY, CMP, CPX, CPY, BIT, AND, ORA, EOR, ADC, SBC, LAX, NOP, ANC, ASR, SBX, ANE, LXA, ARR, LAS = range(21)
STA, STX, STY, SAX, SHA, SHX, SHY, SHS = range(21, 29)
BPL, BMI, BVC, BVS, BCC, BCS, BNE, BEQ = range(29, 37)
DEX, DEY, INX, INY, TAX, TAY, TXA, TYA, TSX, TXS, CLC, SEC, CLI, SEI, CLV, CLD, SED, PASS = range(37, 55)
INC, DEC, ASL, LSR, ROL, ROR, SLO, RLA, SRE, RRA, DCP, ISB = range(55, 67)
PHA, PHP, PLA, PLP = range(67, 71)
JMP, JSR, RTS, RTI, BRK, JAM = range(71, 77)

IMP, ACC, IMM, REL, ZP, ZPX, ZPY, IZX, IZY, ABS, ABX, ABY, IND = range(13)

_ROWS = """
BRK ORA,izx JAM SLO,izx NOP,zp ORA,zp ASL,zp SLO,zp PHP ORA,imm ASL,acc ANC,imm NOP,abs ORA,abs ASL,abs SLO,abs
BPL,rel ORA,izy JAM SLO,izy NOP,zpx ORA,zpx ASL,zpx SLO,zpx CLC ORA,aby PASS SLO,aby NOP,abx ORA,abx ASL,abx SLO,abx
JSR AND,izx JAM RLA,izx BIT,zp AND,zp ROL,zp RLA,zp PLP AND,imm ROL,acc ANC,imm BIT,abs AND,abs ROL,abs RLA,abs
BMI,rel AND,izy JAM RLA,izy NOP,zpx AND,zpx ROL,zpx RLA,zpx SEC AND,aby PASS RLA,aby NOP,abx AND,abx ROL,abx RLA,abx
RTI EOR,izx JAM SRE,izx NOP,zp EOR,zp LSR,zp SRE,zp PHA EOR,imm LSR,acc ASR,imm JMP,abs EOR,abs LSR,abs SRE,abs
BVC,rel EOR,izy JAM SRE,izy NOP,zpx EOR,zpx LSR,zpx SRE,zpx CLI EOR,aby PASS SRE,aby NOP,abx EOR,abx LSR,abx SRE,abx
RTS ADC,izx JAM RRA,izx NOP,zp ADC,zp ROR,zp RRA,zp PLA ADC,imm ROR,acc ARR,imm JMP,ind ADC,abs ROR,abs RRA,abs
BVS,rel ADC,izy JAM RRA,izy NOP,zpx ADC,zpx ROR,zpx RRA,zpx SEI ADC,aby PASS RRA,aby NOP,abx ADC,abx ROR,abx RRA,abx
NOP,imm STA,izx NOP,imm SAX,izx STY,zp STA,zp STX,zp SAX,zp DEY NOP,imm TXA ANE,imm STY,abs STA,abs STX,abs SAX,abs
BCC,rel STA,izy JAM SHA,izy STY,zpx STA,zpx STX,zpy SAX,zpy TYA STA,aby TXS SHS,aby SHY,abx STA,abx SHX,aby SHA,aby
LDY,imm LDA,izx LDX,imm LAX,izx LDY,zp LDA,zp LDX,zp LAX,zp TAY LDA,imm TAX LXA,imm LDY,abs LDA,abs LDX,abs LAX,abs
BCS,rel LDA,izy JAM LAX,izy LDY,zpx LDA,zpx LDX,zpy LAX,zpy CLV LDA,aby TSX LAS,aby LDY,abx LDA,abx LDX,aby LAX,aby
CPY,imm CMP,izx NOP,imm DCP,izx CPY,zp CMP,zp DEC,zp DCP,zp INY CMP,imm DEX SBX,imm CPY,abs CMP,abs DEC,abs DCP,abs
BNE,rel CMP,izy JAM DCP,izy NOP,zpx CMP,zpx DEC,zpx DCP,zpx CLD CMP,aby PASS DCP,aby NOP,abx CMP,abx DEC,abx DCP,abx
CPX,imm SBC,izx NOP,imm ISB,izx CPX,zp SBC,zp INC,zp ISB,zp INX SBC,imm PASS SBC,imm CPX,abs SBC,abs INC,abs ISB,abs
BEQ,rel SBC,izy JAM ISB,izy NOP,zpx SBC,zpx INC,zpx ISB,zpx SED SBC,aby PASS ISB,aby NOP,abx SBC,abx INC,abx ISB,abx
"""
_CYCLES = """
7628335532224466 2528446624274477 6628335542224466 2528446624274477 6628335532223466 2528446624274477
6628335542225466 2528446624274477 2626333322224444 2626444425255555 2626333422224444 2525444424244444
2628335522224466 2528446624274477 2628335522224466 2528446624274477
"""
_entries = [(entry + ",imp").split(",")[:2] for entry in _ROWS.split()]
OPERATION = np.array([NAMES.index(name) for name, _ in _entries], np.uint8)
MODE = np.array([MODES.index(mode) for _, mode in _entries], np.uint8)
CYCLES = np.array([int(digit) for digit in "".join(_CYCLES.split())], np.uint8)
"""Of each instruction, without those of crossed pages and taken branches."""

OPERAND_AT, OPERATION_AT, MODE_AT, CYCLES_AT, LENGTH_AT, LAST_AT = (np.uint64(bit) for bit in (8, 24, 32, 36, 40, 42))
TWO_BITS, NIBBLE, BYTE, TWO_BYTES = np.uint64(3), np.uint64(15), np.uint64(0xFF), np.uint64(0xFFFF)
_lengths = np.where(MODE <= ACC, 1, np.where(MODE < ABS, 2, 3))
_lengths[OPERATION == JSR] = 2
INSTRUCTION = np.arange(256, dtype=np.uint64)
for _field, _at in ((OPERATION, OPERATION_AT), (MODE, MODE_AT), (CYCLES, CYCLES_AT), (_lengths, LENGTH_AT)):
    INSTRUCTION |= _field.astype(np.uint64) << _at
"""An instruction without its operand, by opcode."""


def instructions(image: np.ndarray, part: int, hotspots: int) -> np.ndarray:
    """The instruction that begins at each byte of a cartridge's image, uint64 [bytes + 1024].

    Only the byte is there where an instruction crosses the end of one of the parts that the cartridge shows, of `part`
    bytes each, and where fetching it would switch banks: from the offset `hotspots` in 4 KiB on. The last KiB, all 0,
    is for addresses outside the cartridge.
    """
    first = image.astype(np.uint64)
    second, third = np.roll(first, -1), np.roll(first, -2)
    whole = INSTRUCTION[first]
    length = (whole >> LENGTH_AT & TWO_BITS).astype(np.int64)
    last = np.choose(length - 1, (first, second, third))
    operand = np.where(length > 1, second, 0) | np.where(length > 2, third, 0) << OPERAND_AT
    whole |= operand << OPERAND_AT | last << LAST_AT
    at = np.arange(len(image))
    is_whole = (at % part + length <= part) & ((at & 0xFFF) + length <= hotspots)
    return np.append(np.where(is_whole, whole, first), np.zeros(1024, np.uint64))
