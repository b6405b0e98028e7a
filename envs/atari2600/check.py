"""Our console beside ale-py's, frame by frame: where do they first differ?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gymnast.envs.atari2600 import console
from gymnast.envs.atari2600.games import Game, load_game
from gymnast.envs.atari2600.machine import machines, screens


class Emulator:
    """One console of ours with the methods of ale-py's `ALEInterface` that a comparison needs."""

    def __init__(self, game: Game, *, seed: int, sticky: float = 0.0) -> None:
        self.game, self._machines = game, machines(1)
        self.m = self._machines[0]
        self.m["sticky"] = sticky
        console.power_on_at(self._machines, game.record, game.rom, 0, seed)

    def reset(self, *, mode: int | None = None, difficulty: int | None = None) -> None:
        if mode is not None:
            self.m["mode"] = mode
        if difficulty is not None:
            self.m["difficulty"] = difficulty
        console.begin_episode_at(self._machines, self.game.record, self.game.rom, 0)

    def act(self, action: int) -> int:
        return int(console.act_at(self._machines, self.game.record, self.game.rom, 0, action))

    def screen(self) -> np.ndarray:
        """Palette indices, uint8 [210, 160]."""
        picture: np.ndarray = screens(self._machines)[0, self.m["buffer"]]
        return picture

    def clone_state(self) -> bytes:
        """All that the future depends on."""
        return self._machines.tobytes()

    def restore_state(self, state: bytes) -> None:
        self._machines[:] = np.frombuffer(state, self._machines.dtype)


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
    ale.loadROM(roms.get_rom_path(name))
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
    if mode is not None:
        ale.setMode(mode)
    if difficulty is not None:
        ale.setDifficulty(difficulty)
    if mode is not None or difficulty is not None:
        ale.reset_game()
        ours.reset(mode=mode, difficulty=difficulty)
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
