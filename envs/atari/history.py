"""An Atari row's state: its last seeded reset and the actions since, and a screen that replays them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ale_py
import numpy as np
from ale_py import roms
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """One reset of a row."""

    time: int
    """Actions that were taken in all rows before it."""
    seed: int
    """The emulator's seed, -1 if its generator continued."""
    frames: int
    """Emulator frames that the reset itself played (FIRE and no-ops)."""


class History:
    """The actions of N rows, kept back to the oldest of their last seeded resets."""

    def __init__(self, num_envs: int) -> None:
        self.time = 0
        self.begins: list[list[Begin]] = [[] for _ in range(num_envs)]
        """Of each row, its last seeded reset and every reset since."""
        self.before: list[list[Begin]] = [[] for _ in range(num_envs)]
        """The same before the row's last reset, to replay its last finished episode."""
        self._offset = 0  # the time of row 0 of `_actions`
        self._actions = np.zeros((1024, num_envs), np.uint8)

    def begin(self, row: int, *, seed: int, frames: int) -> None:
        """Note a reset; a seeded one makes all that the row did before irrelevant."""
        self.before[row] = list(self.begins[row])
        if seed >= 0:
            self.begins[row].clear()
        self.begins[row].append(Begin(self.time, seed, frames))

    def append(self, actions: NDArray[np.integer[Any]]) -> None:
        """Note one action of each row, [N]."""
        if self.time - self._offset == len(self._actions):
            self._make_room()
        self._actions[self.time - self._offset] = actions
        self.time += 1

    def since(self, time: int) -> NDArray[np.uint8]:
        """A view of the actions from a time on, uint8 [T, N]."""
        return self._actions[time - self._offset : self.time - self._offset]

    @property
    def oldest(self) -> int:
        """The time of the oldest seeded reset that a row still depends on."""
        return min(begins[0].time for begins in self.begins)

    def _make_room(self) -> None:
        kept = self.since(self.oldest)
        rows = len(self._actions) * (2 if len(kept) > len(self._actions) // 2 else 1)
        actions = np.zeros((rows, kept.shape[1]), np.uint8)
        actions[: len(kept)] = kept
        self._actions, self._offset = actions, self.oldest


class Screen:
    """A single emulator that follows one row of the vector environment, which cannot be rendered itself.

    Seeded alike and given the same actions it is in the same state: its screen is the row's, in colour and full size.
    """

    def __init__(self, rom: str, *, sticky: float, frame_skip: int, fire_reset: bool, full_action_space: bool) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before it is built, or it prints a banner
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", sticky)
        path = roms.get_rom_path(rom)
        assert path is not None  # ale-py includes every ROM that it names
        self._rom = path
        self._ale.loadROM(self._rom)
        actions = self._ale.getLegalActionSet() if full_action_space else self._ale.getMinimalActionSet()
        self._actions = list(actions)
        self._fire = fire_reset and ale_py.Action.FIRE in self._actions
        self._frame_skip = frame_skip
        self._first: Begin | None = None
        self._begun = self._time = 0

    def picture(self, history: History, row: int, *, final: bool) -> NDArray[np.uint8]:
        """Catch up with a row and return its picture, uint8 [H, W, 3]; `final`: the last one before its reset."""
        self._follow(history, row, final=final)
        frame: NDArray[np.uint8] = self._ale.getScreenRGB()
        return frame

    def ram(self, history: History, row: int) -> NDArray[np.uint8]:
        """Catch up with a row and return the console's memory, uint8 [128]."""
        self._follow(history, row, final=False)
        memory: NDArray[np.uint8] = self._ale.getRAM()
        return memory

    def _follow(self, history: History, row: int, *, final: bool) -> None:
        begins = history.before[row] if final else history.begins[row]
        if self._first is not begins[0]:
            self._first, self._begun, self._time = begins[0], 0, begins[0].time
        actions = history.since(self._time)[:, row].tolist()
        for action in [*actions, None]:
            if self._begun < len(begins) and begins[self._begun].time == self._time:
                self._begin(begins[self._begun])
                self._begun += 1
            if action is not None:
                self._act(action)
                self._time += 1

    def _begin(self, begin: Begin) -> None:
        if begin.seed >= 0:
            self._ale.setInt("random_seed", begin.seed)
            self._ale.loadROM(self._rom)
        self._ale.reset_game()
        if self._fire:
            self._ale.act(ale_py.Action.FIRE)
        while self._ale.getEpisodeFrameNumber() < begin.frames:
            self._ale.act(ale_py.Action.NOOP)

    def _act(self, action: int) -> None:
        for _ in range(self._frame_skip):
            self._ale.act(self._actions[action])
            if self._ale.game_over():
                break
