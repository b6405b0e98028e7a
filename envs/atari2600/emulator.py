"""One console for Python, with the methods of ale-py's `ALEInterface` that it shares."""

from __future__ import annotations

import numpy as np

from gymnast.envs.atari2600 import console
from gymnast.envs.atari2600.games import Game
from gymnast.envs.atari2600.machine import machines, screens


class Emulator:
    """A console with a game, at the first frame of an episode; `sticky` is the probability of a repeated action."""

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
