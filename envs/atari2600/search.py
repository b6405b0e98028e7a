"""Play that gets somewhere: a search for a high score, which goes back to the best of the screens it has seen.

It follows the first phase of Go-Explore (Ecoffet et al. 2021): screens are told apart by coarse pictures, cells; each
keeps the console's state at its highest score, and random play goes on from one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gymnast.envs.atari2600.emulator import Emulator
from gymnast.envs.atari2600.games import load_game
from gymnast.envs.atari2600.machine import HEIGHT, WIDTH
from gymnast.envs.atari2600.palette import GRAY

BLOCK = 15, 16
"""Height and width of the pixels that a cell's picture averages."""
LEVELS = 32
"""Gray levels that it does not tell apart."""
HELD = 16
"""Frames that an action is held at most."""
ACTIONS = 30
"""Of random play from a cell."""
CELLS = 1_000
"""Cells kept; beyond them the half with the lower scores is forgotten."""
BEST = 20
"""Half of the time play goes on from one of so many cells with the highest scores."""


@dataclass(frozen=True)
class Place:
    """A moment in a game, by the actions that lead there."""

    score: int
    frames: int
    """Since power-on."""
    before: Place | None
    """Where its last actions began."""
    actions: tuple[int, ...]
    """Since then, one for each frame."""

    def path(self) -> list[int]:
        """All actions since power-on."""
        parts: list[tuple[int, ...]] = []
        place: Place | None = self
        while place is not None:
            parts.append(place.actions)
            place = place.before
        return [action for part in reversed(parts) for action in part]


@dataclass
class Cell:
    """The best place that looks alike, its console, and how often play went on from it."""

    place: Place
    state: bytes
    visits: int = 0


def search(name: str, *, frames: int, seed: int = 0, sticky: float = 0.0) -> Place:
    """The place with the highest score that so many frames find in one episode: the latest of equal ones."""
    emulator, rng = Emulator(load_game(name), seed=seed, sticky=sticky), np.random.default_rng(seed)
    best = Place(0, 0, None, ())
    cells, played = {_look(emulator): Cell(best, emulator.clone_state())}, 0
    while played < frames:
        cell = _choose(cells, rng)
        cell.visits += 1
        emulator.restore_state(cell.state)
        place = cell.place
        for _ in range(ACTIONS):
            place = _hold(emulator, place, int(rng.choice(emulator.game.actions)), int(rng.integers(1, HELD + 1)))
            played += len(place.actions)
            best = max(best, place, key=_rank)
            if emulator.m["terminal"]:
                break
            _keep(cells, emulator, place)
    return best


def _rank(place: Place) -> tuple[int, int]:
    return max(place.score, 0), place.frames


def _hold(emulator: Emulator, place: Place, action: int, frames: int) -> Place:
    """Play an action from a place; only the last frame, which a cell is made of, is drawn."""
    score, count = place.score, 0
    while count < frames and not emulator.m["terminal"]:
        count += 1
        emulator.m["draw"] = count == frames
        score += emulator.act(action)
    return Place(score, place.frames + count, place, (action,) * count)


def _look(emulator: Emulator) -> bytes:
    """The cell of the screen."""
    height, width = BLOCK
    blocks = GRAY[emulator.screen()].reshape(HEIGHT // height, height, WIDTH // width, width)
    levels: np.ndarray = (blocks.mean((1, 3)) // LEVELS).astype(np.uint8)
    return levels.tobytes()


def _choose(cells: dict[bytes, Cell], rng: np.random.Generator) -> Cell:
    """Where to go on: rather where play has seldom gone on from, and often where the score is high."""
    among = list(cells.values())
    if rng.random() < 0.5:
        among = sorted(among, key=lambda cell: -cell.place.score)[:BEST]
    chances = np.array([1 / (1 + cell.visits) for cell in among])
    return among[int(rng.choice(len(among), p=chances / chances.sum()))]


def _keep(cells: dict[bytes, Cell], emulator: Emulator, place: Place) -> None:
    """Note the place where a console is, if it is new or better than the one that looks alike."""
    look = _look(emulator)
    if look not in cells or cells[look].place.score < place.score:
        cells[look] = Cell(place, emulator.clone_state())
    if len(cells) > CELLS:
        for worst in sorted(cells, key=lambda one: cells[one].place.score)[: CELLS // 2]:
            del cells[worst]
