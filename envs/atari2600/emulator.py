"""One console for Python, with the methods of ale-py's `ALEInterface` that it shares."""

from __future__ import annotations

import numpy as np

from gymnast.envs.atari2600 import rows
from gymnast.envs.atari2600.frame import frame_address
from gymnast.envs.atari2600.games import Game
from gymnast.envs.atari2600.machine import machines, screens


class Emulator:
    """A console with a game, at the first frame of an episode; `sticky` is the probability of a repeated action."""

    def __init__(self, game: Game, *, seed: int, sticky: float = 0.0) -> None:
        self.game = game
        game.record["run_frame"] = frame_address()
        self._machines, self._row = machines(1), np.zeros(1, rows.ROW)
        self._settings = np.zeros(1, rows.SETTINGS)
        self._settings["starts"], self._settings["mode"] = 1, game.default_mode
        self._words, self._kept = self._machines.view(np.uint64).reshape(1, -1), np.zeros(rows.KEPT, np.uint64)
        self.m = self._machines[0]
        """The machine's registers by name."""
        self._screens = screens(self._machines)[0]
        self.m["sticky"] = sticky
        self._run(rows.POWER_ON, seed)

    def _run(self, command: int, value: int) -> None:
        state = (self._machines, self._words, self._row, self.game.record, self.game.rom, self._settings)
        rows.run_rows(*state, command, np.array([value], np.int64), 0, 1, self._kept)

    def set_mode(self, mode: int) -> None:
        """From the next reset on."""
        self._settings["mode"] = mode

    def set_difficulty(self, difficulty: int) -> None:
        """From the next reset on; bit 0 is the left player's, bit 1 the right one's."""
        self._settings["difficulty"] = difficulty

    def reset(self) -> None:
        """A new episode; power-on is over, and RAM keeps its contents."""
        self._run(rows.RESET, rows.GO_ON)

    def act(self, action: int) -> int:
        """One frame of an action, 0 to 17; the reward."""
        self._run(rows.ACT, action)
        return int(self._row["reward"][0])

    def screen(self) -> np.ndarray:
        """Palette indices of the last frame, uint8 [210, 160]."""
        picture: np.ndarray = self._screens[self.m["buffer"]]
        return picture

    def clone_state(self) -> bytes:
        """All that the future depends on."""
        return self._machines.tobytes()

    def restore_state(self, state: bytes) -> None:
        """Go on from a state of this game."""
        self._machines[:] = np.frombuffer(state, self._machines.dtype)
