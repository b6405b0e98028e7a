"""Atari ids: the game and the sticky actions that a name implies."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache

MULTIPLAYER = frozenset({"combat", "joust", "maze_craze", "warlords"})
"""ROMs without a single-player version in ale-py."""
ID = re.compile(
    r"(?:ale_py:)?(?P<ale>ALE/)?(?P<game>[A-Za-z0-9]+?)(?P<kind>NoFrameskip|Deterministic)?(?:-v(?P<v>\d+))?"
)
STICKY = {"0": 0.25, "4": 0.0, "5": 0.25}
"""The probability of a repeated action that a version implies in Gymnasium (Machado et al. 2018 ask for 0.25)."""


@dataclass(frozen=True, slots=True)
class AtariName:
    """The meaning of an id."""

    id: str
    """The full id: `Pong` is `ALE/Pong-v5`."""
    rom: str
    sticky: float


@cache
def atari_games() -> dict[str, str]:
    """Every game by its name in ids, with its ROM: `MsPacman` is `ms_pacman`."""
    from ale_py import roms  # loads the emulator

    names = (rom for rom in sorted(roms.get_all_rom_ids()) if rom not in MULTIPLAYER)
    return {rom.title().replace("_", ""): rom for rom in names}


def is_atari(id: str) -> bool:
    """Whether an id is an Atari game, including misspelt ones under `ALE/` and `NoFrameskip`."""
    match = ID.fullmatch(id)
    if match is None:
        return id.removeprefix("ale_py:").startswith("ALE/")
    if match["ale"] or (match["kind"] and match["v"]):
        return True
    return match["v"] in (None, *STICKY) and match["game"] in atari_games()


def atari_id(id: str) -> str:
    """The full id: `Pong` gives `ALE/Pong-v5`. Raises ValueError like `atari_name`."""
    return atari_name(id).id


def atari_name(id: str) -> AtariName:
    """The meaning of an id. Raises ValueError for unknown games and for ids that already skip frames.

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
