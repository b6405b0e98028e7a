"""What the contenders of `pretrain.py` share: the images, and the clock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIDE = 84
VALIDATION = 256
"""Images by which ours is measured after each epoch."""
Result = dict[str, float]
"""Updates per second, and processor milliseconds of an update."""


class Setting(NamedTuple):
    """What a contender is run with."""

    threads: int
    steps: int
    """Updates of an epoch."""
    batch: int
    folder: Path

    def images(self) -> np.ndarray:
        """Images of squares on a dark ground, uint8 [N, 1, 84, 84]: those of an epoch, then those for validation."""
        rng = np.random.default_rng(0)
        found = np.full((self.steps * self.batch + VALIDATION, 1, SIDE, SIDE), 40, np.uint8)
        places = rng.integers(0, SIDE - 16, (len(found), 3, 2))
        for image, squares in zip(found, places, strict=True):
            for row, column in squares:
                image[0, row : row + 16, column : column + 16] = 200
        return found


class Clock:
    """The second epoch: wall time, and processor time, which a busy machine disturbs less."""

    def start(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def stop(self, steps: int) -> Result:
        processor, wall = time.process_time() - self.processor, time.perf_counter() - self.wall
        return {"rate": steps / wall, "cpu_ms": 1e3 * processor / steps}
