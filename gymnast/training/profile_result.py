"""Where the time of a run went: a table, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from gymnast.output.table_text import table_text
from gymnast.training.clock import WARM_UP

PROFILE = "profile.json"
LEARN, EVENTS, REST, ROLLOUT = "learn", "events", "rest", "act+env+store"
PASSES = ("forward", "backward", "forward+backward")
UPDATE = ("sample", *PASSES, "optimizer", LEARN)
"""The phases of an update."""
MEANING = {
    "act": "choosing actions",
    "env": "stepping the environments",
    "store": "storing steps, values of successors included",
    ROLLOUT: "rollouts as one compiled function",
    "sample": "drawing batches",
    "forward": "forward passes and losses",
    "backward": "backward passes",
    "forward+backward": "what belongs to both: a compiled update, or a loss with its slopes",
    "optimizer": "the optimizer's step",
    LEARN: "the rest of updates: targets, clipping, target network",
    WARM_UP: "first calls, which compile and allocate, and counting operations",
    EVENTS: "logs, evaluations and checkpoints in between",
    REST: "the loop itself, and the progress shown",
}
"""The phases in the order of the table."""


@dataclass(frozen=True)
class Profile:
    """Where the time of a run went, from its first step until its last checkpoint."""

    env_steps: int
    phases: Mapping[str, float]
    """Seconds of each phase, without those of the phases called from it."""
    calls: Mapping[str, int]
    divided: bool
    """Whether the phases of an update are known."""
    flops: int | None
    """Operations of all passes, None if they were not counted."""
    peak: float
    """Operations that this machine manages in a second."""
    device: str
    threads: int

    @property
    def seconds(self) -> float:
        """The time of the run."""
        return sum(self.phases.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            "device": self.device,
            "threads": self.threads,
            "phases": {
                phase: {"seconds": value, "share": value / self.seconds, "us_per_env_step": self._us(value), "calls": n}
                for phase, value, n in self._rows()
            },
            "updates_divided": self.divided,
            "gflops_per_second": {
                "updates": self._rate(UPDATE),
                "passes": self._rate(PASSES),
                "peak": self.peak / 1e9,
            },
        }

    def write(self, folder: Path) -> None:
        """Write profile.json into a run's folder."""
        text = json.dumps(self.as_json(), indent=1)
        (folder / PROFILE).write_text(text + "\n", encoding="utf-8", newline="\n")

    def as_text(self) -> str:
        """The table and the learner's speed."""
        table = Table(box=None, pad_edge=False)
        for name in ("phase", "share", "µs/env step", "calls"):
            table.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
        table.add_column("")
        for phase, seconds, calls in self._rows():
            table.add_row(phase, *self._cells(seconds), f"{calls:,}" if calls else "-", self._meaning(phase))
        table.add_row("all", *self._cells(self.seconds), "", f"{self.env_steps:,} env steps in {self.seconds:.2f} s")
        return f"{table_text(table)}\n{self._speed()}"

    def _rows(self) -> list[tuple[str, float, int | None]]:
        """Seconds and calls of the phases that occurred; what is not called has no number of calls."""
        known = {phase: None if phase in (WARM_UP, EVENTS, REST) else self.calls.get(phase, 0) for phase in MEANING}
        return [(phase, self.phases[phase], calls) for phase, calls in known.items() if phase in self.phases]

    def _cells(self, seconds: float) -> tuple[str, str]:
        return f"{seconds / self.seconds:.1%}", f"{self._us(seconds):,.2f}"

    def _us(self, seconds: float) -> float:
        return 1e6 * seconds / max(self.env_steps, 1)

    def _meaning(self, phase: str) -> str:
        if phase == LEARN and not self.divided:
            return "updates, whose phases this agent does not tell apart"
        return MEANING[phase]

    def _rate(self, phases: tuple[str, ...]) -> float | None:
        """10^9 operations per second of these phases."""
        seconds = sum(self.phases.get(phase, 0.0) for phase in phases)
        return None if self.flops is None or not seconds else self.flops / seconds / 1e9

    def _speed(self) -> str:
        updates, passes = self._rate(UPDATE), self._rate(PASSES)
        on = f"{self.threads} thread{'s' if self.threads > 1 else ''}" if self.device == "cpu" else self.device
        peak = f"this machine's peak: {self.peak / 1e9:,.1f} GFLOP/s (float32 matrix product, {on})"
        if updates is None:
            return f"learner: operations not counted; {peak}"
        return f"learner: {updates:,.3g} GFLOP/s, {passes:,.3g} in its passes; {peak}"
