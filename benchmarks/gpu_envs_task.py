"""One measurement of environments on a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from contest import Result, Timed
from filelock import FileLock


@dataclass(frozen=True)
class Task:
    """One contender's work."""

    game: str
    envs: int
    steps: int
    threads: int
    device: str
    lock: str
    """A file that is locked while the steps are timed."""

    @property
    def name(self) -> str:
        """Only the game, as in Gymnasium's id: Asterix."""
        return self.game.removeprefix("MinAtar/").split("-")[0]

    def timed(self, began: float, play: Callable[[], int]) -> Result:
        """Time `play`, which returns the vector steps that it took."""
        ready = time.perf_counter() - began
        with FileLock(self.lock):
            timed = Timed(0)
            return {**timed.result(self.envs * play(), 0, expected=0), "compile_s": ready}
