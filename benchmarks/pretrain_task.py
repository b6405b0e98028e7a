"""What the contenders of `pretrain.py` share: the images, the clock, and our session."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

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


def session(setting: Setting, task: str, config: Any, *, epochs: int) -> Any:
    """A session of `gymnast pretrain` without its command line."""
    import torch
    from gymnasium import spaces

    from gymnast.fitting import data as reading
    from gymnast.fitting.parts import Parts
    from gymnast.fitting.session import FitSession
    from gymnast.output.panel import Panel
    from gymnast.output.trackers import WandbSettings, Writers
    from gymnast.replay.datasets.labelled import Labelled
    from gymnast.settings.fit_options import FitOptions

    images = torch.from_numpy(setting.images())
    every = torch.arange(len(images))
    splits = {"train": every[:-VALIDATION], "validation": every[-VALIDATION:]}
    space = spaces.Box(0, 255, images.shape[1:], np.uint8)
    data = Labelled("bench", space, images, torch.zeros(len(images), 1), (), splits)
    reading.read = lambda *_, **__: data  # the images of all contenders
    out = Path(tempfile.mkdtemp(dir=setting.folder))
    options = FitOptions(dataset="bench", out=str(out), epochs=epochs, threads=setting.threads)
    parts = Parts.make(task, options, config)
    writers = Writers((), out, config={}, run_name="bench", wandb=WandbSettings(), axis="update")
    return FitSession(parts, out, panel=Panel("bench"), writers=writers)


def timed(session: Any, setting: Setting) -> Result:
    """The second epoch of our session."""
    clock = Clock()
    with closing(session):
        session._run_epoch()
        clock.start()
        session._run_epoch()
        return clock.stop(setting.steps)
