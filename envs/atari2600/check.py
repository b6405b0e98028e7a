"""Our console beside ale-py's, frame by frame: where do they first differ?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from gymnast.envs.atari2600.emulator import Emulator
from gymnast.envs.atari2600.games import load_game
from gymnast.envs.atari2600.machine import HEIGHT, WIDTH
from gymnast.envs.atari2600.search import search

LAST_RESETS = 3
"""Resets in a row that random play ends with."""

NUMBERS = ("reward", "terminal", "lives", "frame number", "episode frame number")


@dataclass(frozen=True)
class Outcome:
    """What a comparison found, and how much it played."""

    difference: str | None
    """The first one, None if there is none."""
    frames: int
    """Of every console on both sides, without those of resets."""
    resets: int
    score: int
    """The highest of an episode."""


class Pair:
    """Both consoles with a game, compared after power-on and after every frame and reset."""

    def __init__(self, name: str, *, seed: int = 0, sticky: float = 0.0) -> None:
        self.ale = reference(name, seed=seed, sticky=sticky)
        self.ours = Emulator(load_game(name), seed=seed, sticky=sticky)
        self.difference: str | None = None
        self.frames = self.resets = self.score = self._return = 0
        self._ram, self._screen = np.zeros(128, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
        self._compare(0, 0)

    def select(self, mode: int, difficulty: int) -> None:
        """A new episode in another mode."""
        self.ale.setMode(mode)
        self.ours.set_mode(mode)
        self.ale.setDifficulty(difficulty)
        self.ours.set_difficulty(difficulty)
        self.reset()

    def reset(self) -> None:
        """A new episode."""
        self.ale.reset_game()
        self.ours.reset()
        self.resets += 1
        self._return = 0
        self._compare(0, 0)

    def act(self, action: int) -> int:
        """One frame, and a new episode if the game is over; the reward."""
        reward = int(self.ale.act(action))
        self._compare(reward, self.ours.act(action))
        self.frames += 1
        self._return += reward
        self.score = max(self.score, self._return)
        if self.difference is None and self.ours.m["terminal"]:
            self.reset()
        return reward

    def outcome(self) -> Outcome:
        """What was found so far."""
        return Outcome(self.difference, self.frames, self.resets, self.score)

    def _compare(self, reward: int, our_reward: int) -> None:
        """Keep the first difference; `reward` is ale-py's."""
        ale, m = self.ale, self.ours.m
        ale.getRAM(self._ram)
        ale.getScreen(self._screen)
        theirs = reward, ale.game_over(), ale.lives(), ale.getFrameNumber(), ale.getEpisodeFrameNumber()
        own = our_reward, m["terminal"] != 0, m["lives"], m["frames"], m["episode_frames"]
        screen = self.ours.screen()
        is_equal = theirs == own and self._ram.tobytes() == m["RAM"].tobytes()
        if self.difference is not None or (is_equal and self._screen.tobytes() == screen.tobytes()):
            return
        values = [
            *zip(NUMBERS, theirs, own, strict=True),
            *_differing("RAM", self._ram, m["RAM"]),
            *_differing("screen", self._screen, screen),
        ]
        name, expected, given = next(value for value in values if value[1] != value[2])
        self.difference = f"frame {self.frames} after {self.resets} resets: {name} is {expected} there, {given} here"


def _differing(name: str, theirs: np.ndarray, own: np.ndarray) -> list[tuple[str, int, int]]:
    """The first element that differs."""
    places = [tuple(place) for place in np.argwhere(theirs != own)[:1].tolist()]
    return [(f"{name} at {', '.join(map(str, at))}", int(theirs[at]), int(own[at])) for at in places]


def reference(name: str, *, seed: int, sticky: float) -> Any:
    """ale-py's console with a game."""
    from ale_py import ALEInterface, LoggerMode, roms

    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", sticky)
    path = roms.get_rom_path(name)
    assert path is not None
    ale.loadROM(path)
    return ale


def play(name: str, *, frames: int, seed: int = 0, sticky: float = 0.0, reset_every: int | None = None) -> Outcome:
    """Random play with new episodes after the end of a game; with `reset_every` also after so many frames, and three
    in a row at the end."""
    pair = Pair(name, seed=seed, sticky=sticky)
    _play_randomly(pair, frames, np.random.default_rng(seed), reset_every)
    for _ in range(LAST_RESETS if reset_every else 0):
        pair.reset()
    return pair.outcome()


def play_modes(name: str, *, frames: int, seed: int = 0, sticky: float = 0.0) -> Outcome:
    """Random play for as many frames in every mode with every difficulty."""
    pair, rng = Pair(name, seed=seed, sticky=sticky), np.random.default_rng(seed)
    for mode in pair.ours.game.modes:
        for difficulty in pair.ours.game.difficulties:
            pair.select(mode, difficulty)
            _play_randomly(pair, frames, rng)
            if pair.difference is not None:
                where = f"mode {mode}, difficulty {difficulty}, {pair.difference}"
                return Outcome(where, pair.frames, pair.resets, pair.score)
    return pair.outcome()


def play_well(name: str, *, frames: int, seed: int = 0, sticky: float = 0.0) -> Outcome:
    """The way to the highest score that a search of so many frames finds; it draws few of them, both draw all here."""
    place = search(name, frames=frames, seed=seed, sticky=sticky)
    pair = Pair(name, seed=seed, sticky=sticky)
    score = sum(pair.act(action) for action in place.path())
    found = pair.outcome()
    if found.difference is None and score != place.score:
        found = dataclasses.replace(found, difference=f"the score is {score}, and was {place.score} in the search")
    return found


def _play_randomly(pair: Pair, frames: int, rng: np.random.Generator, reset_every: int | None = None) -> None:
    for frame, action in enumerate(rng.choice(pair.ours.game.actions, frames).tolist(), 1):
        pair.act(action)
        if pair.difference is not None:
            return
        if reset_every and frame % reset_every == 0:
            pair.reset()
