"""The 6507's instruction set as tables: operation, addressing mode and cycles of each of the 256 opcodes."""

from __future__ import annotations

import numpy as np

# Operations, in groups that the processor tells apart by their limits: they read a byte, change one, store one, branch,
# have no operand, use the stack, jump.
_NAMES = """
LDA LDX LDY CMP CPX CPY BIT AND ORA EOR ADC SBC LAX NOP ANC ASR SBX ANE LXA ARR LAS
INC DEC ASL LSR ROL ROR SLO RLA SRE RRA DCP ISB
STA STX STY SAX SHA SHX SHY SHS
BPL BMI BVC BVS BCC BCS BNE BEQ
DEX DEY INX INY TAX TAY TXA TYA TSX TXS CLC SEC CLI SEI CLV CLD SED PASS
PHA PHP PLA PLP
JMP JSR RTS RTI BRK JAM
"""
_MODES = "imp acc imm rel zp zpx zpy izx izy abs abx aby ind"
NAMES, MODES = _NAMES.split(), _MODES.split()

LDA, LDX, LDY, CMP, CPX, CPY, BIT, AND, ORA, EOR, ADC, SBC, LAX, NOP, ANC, ASR, SBX, ANE, LXA, ARR, LAS = range(21)
INC, DEC, ASL, LSR, ROL, ROR, SLO, RLA, SRE, RRA, DCP, ISB = range(21, 33)
STA, STX, STY, SAX, SHA, SHX, SHY, SHS = range(33, 41)
BPL, BMI, BVC, BVS, BCC, BCS, BNE, BEQ = range(41, 49)
DEX, DEY, INX, INY, TAX, TAY, TXA, TYA, TSX, TXS, CLC, SEC, CLI, SEI, CLV, CLD, SED, PASS = range(49, 67)
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
