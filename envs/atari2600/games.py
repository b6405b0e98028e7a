"""The 57 games as data: `games.csv`, one line each, and the images that ale-py's wheel has."""

from __future__ import annotations

import csv
import difflib
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from gymnast.envs.atari2600 import cartridge, decode, ports, rules
from gymnast.envs.atari2600.machine import VARIABLES

PRELUDES = ("", "wait", "reset", "select", "menu")
"""What the selection of a mode begins with; "menu" is Double Dunk's whole selection."""
ALL_ACTIONS = tuple(range(18))

GAME = np.dtype(
    [
        *((name, np.int32) for name in ("cartridge", "ystart", "hmove_blanks", "ports", "pro", "default_mode")),
        *((name, np.int32) for name in ("start_action", "start_frames", "select_frames", "prelude", "legal")),
        ("start", np.int32, (VARIABLES,)),
        ("rules", np.int32, (rules.LONGEST,)),
        ("mode_reached", np.int32, (rules.LONGEST,)),
        ("run_frame", np.int64),
    ],
    align=True,
)
"""What compiled code knows of a game; `legal` has a bit for each action that does something,
`run_frame` is the address of `frame.run_frame` in this process, 0 before a console needs it."""


class GameError(ValueError):
    """A game that cannot be played, in one line."""


@dataclass(frozen=True)
class Game:
    """A game: its image and the record of its rules."""

    name: str
    rom: np.ndarray
    """The image's bytes, and the instruction that begins at each: uint64, as `decode.instructions` makes them."""
    record: np.ndarray
    """`GAME` [1]."""
    actions: tuple[int, ...]
    """The minimal action set."""
    modes: tuple[int, ...]
    difficulties: tuple[int, ...]

    @property
    def default_mode(self) -> int:
        return int(self.record["default_mode"][0])


@cache
def table() -> dict[str, dict[str, str]]:
    """The lines of `games.csv` by game."""
    text = resources.files(__package__).joinpath("games.csv").read_text(encoding="utf-8")
    return {line["game"]: line for line in csv.DictReader(text.splitlines())}


def names() -> tuple[str, ...]:
    """The games, as ale-py's ROM files are called."""
    return tuple(table())


def load_game(name: str, rom: Path | None = None) -> Game:
    """A game by its name, from ale-py's own image or the file `rom`.

    Raises:
        GameError: an unknown game, a missing image, or one that is not the game's.
    """
    if name not in table():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise GameError(f"game {name!r} is not one of the {len(names())} known{hint}")
    line = table()[name]
    image = _image(name, rom)
    checksum = hashlib.md5(image, usedforsecurity=False).hexdigest()
    if checksum != line["md5"]:
        raise GameError(f"{name}: the image has md5 {checksum}, expected {line['md5']}")
    record = record_of(line)
    return Game(
        name,
        instructions_of(np.frombuffer(image, np.uint8), record),
        record,
        _numbers(line["actions"]),
        _numbers(line["modes"]),
        _numbers(line["difficulties"]),
    )


def instructions_of(image: np.ndarray, record: np.ndarray) -> np.ndarray:
    """The image of a game, decoded for its type of cartridge."""
    kind = record["cartridge"][0]
    return decode.instructions(image, cartridge.CONTIGUOUS[kind], cartridge.HOTSPOTS[kind])


def _image(name: str, rom: Path | None) -> bytes:
    if rom is None:
        from ale_py import roms  # only for its images

        rom = roms.get_rom_path(name)
    if rom is None or not rom.is_file():
        raise GameError(f"{name}: there is no image {rom}")
    return rom.read_bytes()


def record_of(line: dict[str, Any]) -> np.ndarray:
    """A line of the table as `GAME` [1]. Raises GameError for a cartridge of another type."""
    if line["cartridge"] not in cartridge.TYPES:
        known = ", ".join(cartridge.TYPES)
        raise GameError(f"{line['game']}: cartridges of type {line['cartridge']} are not supported (known: {known})")
    record = np.zeros(1, GAME)
    one = record[0]
    for name in ("ystart", "hmove_blanks", "pro", "default_mode", "start_frames"):
        one[name] = int(line[name])
    one["cartridge"] = cartridge.TYPES.index(line["cartridge"])
    one["ports"] = ports.NAMES.index(line["ports"])
    one["start_action"] = ports.ACTIONS.index(line["start_action"]) if line["start_action"] else 0
    one["select_frames"] = int(line["select_frames"] or 0)
    one["prelude"] = PRELUDES.index(line["mode_prelude"])
    one["legal"] = sum(1 << action for action in _numbers(line["legal"]) or ALL_ACTIONS)
    for part in filter(None, line["start"].split("; ")):
        variable, value = part.split(" = ")
        one["start"][rules.NAMES.index(variable)] = int(value)
    one["rules"] = rules.compile_rules(line["rules"])
    if line["mode_reached"]:
        one["mode_reached"] = rules.compile_condition(line["mode_reached"])
    return record


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split())
