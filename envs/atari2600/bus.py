"""What the processor's 13 address lines select: cartridge, TIA, RAM, RIOT."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.cartridge import KIB, PARTS, WITHIN_KIB, switch_bank
from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart
from gymnast.envs.atari2600.decode import BYTE
from gymnast.envs.atari2600.riot import read_riot, write_riot
from gymnast.envs.atari2600.tia import read_tia, write_tia


@inlined
def shown(m: Any, rom: Any, address: int) -> Any:
    """What the cartridge shows at an address: the instruction that begins there, uint64; 0 outside of it."""
    return rom[m.window[address >> KIB & PARTS] + (address & WITHIN_KIB)]


@inlined
def shown_byte(m: Any, rom: Any, address: int) -> int:
    """The byte that the cartridge shows at an address."""
    return np.int64(shown(m, rom, address) & BYTE)  # type: ignore[no-any-return]


@inlined
def read(m: Any, rom: Any, address: int, cycle: int) -> int:
    """The byte at an address, which the bus keeps; compiled into the places that run for most instructions."""
    if address & 0x1280 == 0x80:
        value = np.int64(m.RAM[address & 0x7F])
    elif address & 0x1000 and address & 0xFFF < m.hotspots:
        value = shown_byte(m, rom, address)
    else:
        value = read_other(m, rom, address, cycle)
    m.bus = value
    return value  # type: ignore[no-any-return]


@rule
def read_byte(m: Any, rom: Any, address: int, cycle: int) -> int:
    """`read`, for the other places."""
    stay_apart()
    return read(m, rom, address, cycle)


@rule
def read_other(m: Any, rom: Any, address: int, cycle: int) -> int:
    """A register of the TIA or the RIOT, or a byte of the cartridge at a hotspot, which switches banks first."""
    stay_apart()
    if address & 0x1000:
        switch_bank(m, address & 0xFFF)
        return shown_byte(m, rom, address)
    if address & 0x80:
        return np.int64(read_riot(m, address, cycle))  # type: ignore[no-any-return]
    return np.int64(read_tia(m, address & 0x0F, cycle))  # type: ignore[no-any-return]


@inlined
def write(m: Any, address: int, value: int, cycle: int, follows_write: int) -> int:
    """Write a byte; the cycle afterwards, which WSYNC moves on. `follows_write`: right after another write."""
    m.bus = value
    if address & 0x1280 == 0x80:
        m.RAM[address & 0x7F] = value
        return cycle
    return write_chip(m, address, value, cycle, follows_write)


@rule
def write_byte(m: Any, address: int, value: int, cycle: int, follows_write: int) -> int:
    """`write`, for the places that are not hot."""
    stay_apart()
    return write(m, address, value, cycle, follows_write)


@rule
def write_chip(m: Any, address: int, value: int, cycle: int, follows_write: int) -> int:
    """A register, or a hotspot of the cartridge."""
    stay_apart()
    if address & 0x1080 == 0:
        return write_tia(m, address & 0x3F, value, cycle, follows_write)
    if address & 0x1000:
        if address & 0xFFF >= m.hotspots:
            switch_bank(m, address & 0xFFF)
    else:
        write_riot(m, address, value, cycle)
    return cycle
