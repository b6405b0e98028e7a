"""Atari ids: what a name says about the game and about sticky actions."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache

from ale_py import roms

MULTIPLAYER = frozenset({"combat", "joust", "maze_craze", "warlords"})
"""ROMs that ale-py has no single-player version of."""
ID = re.compile(
    r"(?:ale_py:)?(?P<ale>ALE/)?(?P<game>[A-Za-z0-9]+?)(?P<kind>NoFrameskip|Deterministic)?(?:-v(?P<v>\d+))?"
)
STICKY = {"0": 0.25, "4": 0.0, "5": 0.25}
"""The probability of a repeated action that a version stands for in Gymnasium (Machado et al. 2018 ask for 0.25)."""


@dataclass(frozen=True, slots=True)
class AtariName:
    """What an id says."""

    id: str
    """The id in full, with what it leaves out: `Pong` is `ALE/Pong-v5`."""
    rom: str
    sticky: float


@cache
def atari_games() -> dict[str, str]:
    """Every game by the name that its ids bear, and its ROM: `MsPacman` is `ms_pacman`."""
    names = (rom for rom in sorted(roms.get_all_rom_ids()) if rom not in MULTIPLAYER)
    return {rom.title().replace("_", ""): rom for rom in names}


def is_atari(id: str) -> bool:
    """Whether an id means an Atari game, misspelt ones under `ALE/` and `NoFrameskip` included."""
    match = ID.fullmatch(id)
    if match is None:
        return id.removeprefix("ale_py:").startswith("ALE/")
    if match["ale"] or (match["kind"] and match["v"]):
        return True
    return match["game"] in atari_games() and match["v"] in (None, *STICKY)


def atari_id(id: str) -> str:
    """The id in full: `Pong` gives `ALE/Pong-v5`. Raises ValueError as `atari_name` does."""
    return atari_name(id).id


def atari_name(id: str) -> AtariName:
    """What an id means. Raises ValueError in one line for unknown games and for ids that skip frames by themselves.

    `Pong` and `ALE/Pong-v5` have sticky actions (0.25), `PongNoFrameskip-v4` has none (0), `PongNoFrameskip-v0` 0.25.
    `Pong-v0`, `Pong-v4` (2 to 4 frames at random) and `PongDeterministic-v4` are refused: they would skip twice.
    """
    match = ID.fullmatch(id)
    game = match["game"] if match else id.removeprefix("ale_py:").removeprefix("ALE/").split("-")[0]
    if game not in atari_games():
        near = difflib.get_close_matches(game.lower(), {name.lower(): name for name in atari_games()}, 1)
        named = next((name for name in atari_games() if near and name.lower() == near[0]), None)
        raise ValueError(
            f"unknown Atari game {game!r} in {id!r}" + (f"; did you mean ALE/{named}-v5?" if named else "")
        )
    rom = atari_games()[game]
    ale, kind, version = (match["ale"], match["kind"], match["v"]) if match else (None, None, None)
    if not kind and (version == "5" if ale else version is None):
        return AtariName(f"ALE/{game}-v5", rom, STICKY["5"])
    if not ale and kind == "NoFrameskip" and version in ("0", "4"):
        return AtariName(f"{game}NoFrameskip-v{version}", rom, STICKY[version])
    if not ale and version in ("0", "4"):
        skips = "skips 4 frames" if kind else "skips 2 to 4 frames at random"
        raise ValueError(
            f"{id} already {skips}, and the frame_skip option would skip again; "
            f"use ALE/{game}-v5 (sticky actions) or {game}NoFrameskip-v4 (none)"
        )
    raise ValueError(f"unknown Atari id {id!r}; use {game}, ALE/{game}-v5 or {game}NoFrameskip-v4")
