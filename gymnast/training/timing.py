"""Where the time of a run goes: the records of timing.jsonl. Nothing else in a run depends on the clock."""

from __future__ import annotations

import dataclasses
from time import perf_counter

from gymnast.training.loop import Loop

TIMING_PERIOD = 10.0
"""Seconds between two records of timing.jsonl."""


class Watch:
    """A record of timing.jsonl: steps per second and where the time went since the last record."""

    def __init__(self, loop: Loop, *, total: float = 0.0) -> None:
        self._loop = loop
        self.total = total
        self.recorded_at = perf_counter()
        self._env_step = loop.env_step
        self._seconds = dataclasses.asdict(loop.seconds)

    def record(self) -> dict[str, float]:
        now, seconds = perf_counter(), dataclasses.asdict(self._loop.seconds)
        elapsed = max(now - self.recorded_at, 1e-9)
        self.total += elapsed
        steps = self._loop.env_step - self._env_step
        record = {"env_step": self._loop.env_step, "seconds": self.total, "steps_per_second": steps / elapsed}
        record |= {name: (value - self._seconds[name]) / elapsed for name, value in seconds.items()}
        self.recorded_at, self._env_step, self._seconds = now, self._loop.env_step, seconds
        return {name: value if name == "env_step" else round(value, 4) for name, value in record.items()}
