"""Our console beside ale-py's, frame by frame: where do they first differ?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gymnast.envs.atari2600.emulator import Emulator
from gymnast.envs.atari2600.games import load_game


@dataclass(frozen=True)
class Difference:
    """The first difference of two emulators."""

    frame: int
    """-1 for the state after power-on."""
    what: str

    def __str__(self) -> str:
        return f"frame {self.frame}: {self.what}"


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


def compare(
    name: str,
    *,
    frames: int,
    seed: int = 0,
    sticky: float = 0.0,
    mode: int | None = None,
    difficulty: int | None = None,
    reset_every: int | None = None,
) -> Difference | None:
    """The first difference in random play, None if there is none.

    After the end of a game, and every `reset_every` frames, both begin a new episode.
    """
    ale, ours = reference(name, seed=seed, sticky=sticky), Emulator(load_game(name), seed=seed, sticky=sticky)
    found = _difference(ale, ours, 0, 0, -1)
    if mode is not None or difficulty is not None:
        for change, value in ((ale.setMode, mode), (ours.set_mode, mode)):
            change(ours.game.default_mode if value is None else value)
        for change, value in ((ale.setDifficulty, difficulty), (ours.set_difficulty, difficulty)):
            change(value or 0)
        ale.reset_game()
        ours.reset()
        found = found or _difference(ale, ours, 0, 0, -1)
    actions = np.random.default_rng(seed).choice(ours.game.actions, frames)
    for frame, action in enumerate(actions.tolist()):
        if found is not None:
            break
        found = _difference(ale, ours, ale.act(action), ours.act(action), frame)
        if found is None and (ale.game_over() or (reset_every and frame % reset_every == reset_every - 1)):
            ale.reset_game()
            ours.reset()
            found = _difference(ale, ours, 0, 0, frame)
    return found


def _difference(ale: Any, ours: Emulator, reward: int, our_reward: int, frame: int) -> Difference | None:
    m = ours.m
    numbers = {
        "reward": (reward, our_reward),
        "terminal": (int(ale.game_over()), int(m["terminal"])),
        "lives": (ale.lives(), int(m["lives"])),
        "frame number": (ale.getFrameNumber(), int(m["frames"])),
        "episode frame number": (ale.getEpisodeFrameNumber(), int(m["episode_frames"])),
    }
    ram = ale.getRAM()
    for byte in np.flatnonzero(ram != m["RAM"])[:1].tolist():
        return Difference(frame, f"RAM byte {byte} is {ram[byte]} there, {m['RAM'][byte]} here")
    screen = ale.getScreen()
    for row, column in np.argwhere(screen != ours.screen())[:1].tolist():
        return Difference(
            frame, f"pixel {column} of row {row} is {screen[row, column]} there, {ours.screen()[row, column]} here"
        )
    for name, (theirs, own) in numbers.items():
        if theirs != own:
            return Difference(frame, f"{name} is {theirs} there, {own} here")
    return None


def table(
    names: Sequence[str], *, frames: int, seeds: Sequence[int], sticky: Sequence[float], reset_every: int | None
) -> int:
    """Print a line for each game; how many differ somewhere."""
    width, different = max(map(len, names)), 0
    for name in names:
        found = None
        for seed, probability in itertools.product(seeds, sticky):
            found = compare(name, frames=frames, seed=seed, sticky=probability, reset_every=reset_every)
            if found is not None:
                break
        different += found is not None
        where = "equal" if found is None else f"seed {seed}, sticky {probability}, {found}"
        print(f"{name:{width}}  {where}", flush=True)
    runs = len(seeds) * len(sticky)
    print(f"{len(names) - different} of {len(names)} games are equal in {frames} frames, {runs} times each")
    return different
