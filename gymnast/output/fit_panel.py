"""Progress of a run that fits a network to data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import RenderableType

from gymnast.output.panel import Speed, duration, fraction, framed, labelled_rows, number, pairs, side_by_side


@dataclass(frozen=True)
class FitProgress:
    """A fitting run at one moment."""

    updates: int
    total_updates: int
    epoch: int
    epochs: int
    batch_size: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent so far in each part (data, learn, evaluate)."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Means since the last record of the log."""
    evaluation: Mapping[str, float] = field(default_factory=dict)
    """Measures of the last evaluation."""
    metric: str = ""
    best: float | None = None

    @property
    def done(self) -> int:
        return self.updates

    @property
    def total(self) -> int:
        return self.total_updates

    def line(self, speed: Speed) -> str:
        rate = speed.steps_per_second * self.batch_size
        parts = [
            f"epoch {self.epoch:,}/{self.epochs:,}  update {self.updates:,}/{self.total_updates:,}",
            f"({fraction(self):.0%})  {number(rate)} examples/s",
            *pairs(self.losses),
            *(f"validation {name} {number(value)}" for name, value in self.evaluation.items() if name == self.metric),
            f"best {number(self.best)}",
            f"left {duration(speed.seconds_left)}",
        ]
        return "  ".join(parts)

    def render(self, title: str, speed: Speed, *, width: int) -> RenderableType:
        rows = labelled_rows()
        rate = f"{number(speed.steps_per_second * self.batch_size)} examples/s"
        split = "  ".join(f"{name} {share:.0%}" for name, share in speed.split.items())
        rows.add_row("speed", side_by_side([rate, split]))
        rows.add_row("time left", duration(speed.seconds_left))
        rows.add_row("epoch", f"{self.epoch:,} of {self.epochs:,}")
        rows.add_row("learning", side_by_side(pairs(self.losses)) if self.losses else "-")
        rows.add_row("validation", side_by_side(pairs(self.evaluation)) if self.evaluation else "-")
        rows.add_row("best", f"{self.metric} {number(self.best)}")
        return framed(title, self, rows, width=width)
