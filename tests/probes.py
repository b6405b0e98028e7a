"""Programs for the Atari 2600 that ask its chips questions: assembled by hand, run on our console."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gymnast.envs.atari2600.emulator import Emulator
from gymnast.envs.atari2600.games import Game, instructions_of, record_of, table

ORIGIN = 0xF000
SEI, CLD, SED, CLC, SEC, CLV, PHP, PLA, TXS, NOP, TAX = 0x78, 0xD8, 0xF8, 0x18, 0x38, 0xB8, 0x08, 0x68, 0x9A, 0xEA, 0xAA
LDA, LDX, LDY = 0xA9, 0xA2, 0xA0
"""Of the byte that follows."""
STA_ZP, LDA_ZP, STX_ZP, ADC, SBC = 0x85, 0xA5, 0x86, 0x69, 0xE9
WSYNC, VSYNC = 0x02, 0x00
START = (SEI, CLD, LDX, 0xFF, TXS, LDA, 0, STA_ZP, 0xA3)
"""`A3` is Seaquest's mark of an ended game, and RAM begins with random bytes."""
VERTICAL_SYNC = (LDA, 2, STA_ZP, VSYNC, *(STA_ZP, WSYNC) * 3, LDA, 0, STA_ZP, VSYNC)


def console(program: Sequence[int], *, once: Sequence[int] = ()) -> Emulator:
    """A console that runs `once`, then `program` and a vertical sync for ever, as a 4 KiB cartridge of Seaquest."""
    code = [*START, *once]
    loop = ORIGIN + len(code)
    code += [*program, *VERTICAL_SYNC, 0x4C, loop & 0xFF, loop >> 8]
    image = np.zeros(4096, np.uint8)
    image[: len(code)] = code
    image[0xFFC:0xFFE] = ORIGIN & 0xFF, ORIGIN >> 8
    record = record_of(table()["seaquest"])
    return Emulator(Game("seaquest", instructions_of(image, record), record, (0,), (0,), (0,)), seed=1)


def memory(program: Sequence[int], *, count: int) -> list[int]:
    """The first bytes of RAM after a frame of a program."""
    emulator = console(program)
    emulator.act(0)
    return [int(byte) for byte in emulator.m["RAM"][:count]]
