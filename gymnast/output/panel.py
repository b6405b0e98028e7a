"""Progress of a run: a live panel on a terminal, otherwise one plain line every few seconds.

Everything goes to stderr, so that stdout stays free for results (`--json`, pipes).
"""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Frame
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

LIVE_PERIOD = 0.5
PLAIN_PERIOD = 5.0
SPEED_WINDOW = 15.0
"""Seconds over which steps/s and its split are measured."""
BARS = "▁▂▃▄▅▆▇█"
MAX_WIDTH = 110
"""Width of the live panel on a wide terminal, in columns."""


@dataclass(frozen=True)
class PanelState:
    """A run at one moment; unknown values are empty or None and shown as "-"."""

    env_step: int
    total_steps: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent so far in each part of the loop (act, env, learn)."""
    episodes: int = 0
    returns: Sequence[float] = ()
    """Returns of the last episodes, oldest first."""
    lengths: Sequence[float] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    scheduled: Mapping[str, float] = field(default_factory=dict)
    evaluation: float | None = None
    """Mean return of the last evaluation."""
    best: float | None = None

    @property
    def done(self) -> int:
        return self.env_step

    @property
    def total(self) -> int:
        return self.total_steps

    def line(self, speed: Speed) -> str:
        parts = [
            f"step {self.env_step:,}/{self.total_steps:,} ({fraction(self):.0%})",
            f"{number(speed.steps_per_second)} steps/s ({split_text(speed)})" if speed.split else "- steps/s",
            f"return {number(_mean(self.returns))}",
            f"length {number(_mean(self.lengths))}",
            f"episodes {self.episodes:,}",
            *pairs(self.losses),
            *pairs(self.scheduled),
            f"eval {number(self.evaluation)} best {number(self.best)}",
            f"left {duration(speed.seconds_left)}",
        ]
        return "  ".join(parts)

    def render(self, title: str, speed: Speed, *, width: int) -> RenderableType:
        rows = labelled_rows()
        spark = sparkline(self.returns, width=30)
        rows.add_row("speed", side_by_side([f"{number(speed.steps_per_second)} steps/s", split_text(speed)]))
        rows.add_row("time left", duration(speed.seconds_left))
        of = f"mean of the last {len(self.returns)} of {self.episodes:,} episodes"
        rows.add_row("return", side_by_side([number(_mean(self.returns)), spark]))
        rows.add_row("length", side_by_side([number(_mean(self.lengths)), of]))
        rows.add_row("learning", side_by_side(pairs(self.losses)) if self.losses else "-")
        if self.scheduled:
            rows.add_row("schedules", side_by_side(pairs(self.scheduled)))
        rows.add_row("evaluation", side_by_side([number(self.evaluation), f"best {number(self.best)}"]))
        return framed(title, self, rows, width=width)


@dataclass(frozen=True)
class Speed:
    """Steps per second over the last seconds, where the time went (fractions that sum to 1), and seconds left."""

    steps_per_second: float = math.nan
    split: Mapping[str, float] = field(default_factory=dict)
    seconds_left: float = math.nan


class ProgressConsole(Console):
    """A console that falls silent when its stream is closed; rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # What is still buffered goes nowhere: Python flushes it at its end, and exits with code 120 if that fails.
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self.file.fileno())


class Panel:
    """Shows the states passed to it; a context manager.

    `live` None means: if stderr is a terminal with cursor movement and Unicode. `period` is the number of
    seconds between two states. If stderr can no longer be written (a closed pipe), the display ends, but
    training continues.
    """

    def __init__(
        self,
        title: str,
        *,
        live: bool | None = None,
        period: float | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.title = title
        self._console = ProgressConsole(stderr=True) if console is None else console
        plain = self._console.is_dumb_terminal or self._console.options.ascii_only or not sys.stderr.isatty()
        self._is_live = not plain if live is None else live
        self._period = period or (LIVE_PERIOD if self._is_live else PLAIN_PERIOD)
        self._clock = clock
        self._next = -math.inf
        self._meter = _Meter()
        self._live: Live | None = None

    def __enter__(self) -> Panel:
        self._next = self._clock() + self._period
        if self._is_live:
            # No refresh thread: the loop decides when; and stdout is only diverted if it would garble the panel.
            live = Live(console=self._console, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
            self._live = live if self._guard(live.start) else None
        else:
            self.message(self.title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._guard(self._live.stop)
            self._live = None

    def due(self, now: float) -> bool:
        """Whether another state is due."""
        return now >= self._next

    def update(self, state: Progress) -> None:
        """Show a state immediately."""
        now = self._clock()
        speed = self._meter.take(now, state)
        self._next = now + self._period
        live = self._live
        if live is None:
            self._print(state.line(speed))
        else:
            width = min(self._console.width, MAX_WIDTH)
            frame = state.render(self.title, speed, width=width)
            self._guard(lambda: live.update(frame, refresh=True))

    def message(self, text: str) -> None:
        """Print a permanent line, above the panel or among the plain lines."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._guard(lambda: self._console.print(Text(text), soft_wrap=True))

    def _guard(self, show: Callable[[], object]) -> bool:
        try:
            show()
        except (OSError, ValueError):  # a closed terminal or file, or a full disk under a redirected stderr
            self._console.quiet = True
            return False
        return True


class Progress(Protocol):
    """A run at one moment, as a panel shows it."""

    @property
    def done(self) -> int:
        """Steps so far."""
        ...

    @property
    def total(self) -> int: ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds spent so far in each part of the run."""
        ...

    def line(self, speed: Speed) -> str:
        """One ASCII line, for logs, pipes and dumb terminals."""
        ...

    def render(self, title: str, speed: Speed, *, width: int) -> RenderableType:
        """The live panel."""
        ...


class _Meter:
    """Speed over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, Mapping[str, float]]] = deque()

    def take(self, now: float, state: Progress) -> Speed:
        seen = self._seen
        seen.append((now, state.done, state.seconds))
        while len(seen) > 2 and seen[1][0] < now - SPEED_WINDOW:
            seen.popleft()
        then, done, seconds = seen[0]
        elapsed = now - then
        if elapsed <= 0:
            return Speed()
        split = {name: (value - seconds.get(name, 0.0)) / elapsed for name, value in state.seconds.items()}
        split = {name: fraction for name, fraction in split.items() if fraction > 0}
        split["other"] = max(1.0 - sum(split.values()), 0.0)
        rate = (state.done - done) / elapsed
        left = (state.total - state.done) / rate if rate > 0 else math.nan
        return Speed(rate, split, left)


def labelled_rows() -> Table:
    """An empty table of names and their values."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    return rows


def framed(title: str, state: Progress, rows: Table, *, width: int) -> RenderableType:
    """The rows under a bar of the run's progress, in a frame with a title."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    count = f"{fraction(state):4.0%}  {state.done:,}/{state.total:,}"
    bar.add_row(ProgressBar(total=max(state.total, 1), completed=state.done, complete_style="cyan"), count)
    return Frame(Group(bar, rows), title=Text(title, overflow="ellipsis"), title_align="left", width=width)


def sparkline(values: Sequence[float], *, width: int) -> str:
    """Finite values, oldest first, as a row of at most `width` bars from the lowest to the highest."""
    finite = [value for value in values if math.isfinite(value)]
    columns = min(width, len(finite))
    if not columns:
        return ""
    edges = [round(column * len(finite) / columns) for column in range(columns + 1)]
    means = [_mean(finite[begin:end]) for begin, end in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    top = len(BARS) - 1
    return "".join(BARS[round((mean - low) / span * top) if span else top // 2] for mean in means)


def number(value: float | None) -> str:
    """Four significant digits, thousands with commas; "-" if unknown."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """h:mm:ss, "-" if unknown."""
    if not math.isfinite(seconds):
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def fraction(state: Progress) -> float:
    """Share of the run that is done."""
    return state.done / state.total if state.total else 1.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def split_text(speed: Speed) -> str:
    return " ".join(f"{name} {fraction:.0%}" for name, fraction in speed.split.items())


def pairs(values: Mapping[str, float]) -> Iterator[str]:
    return (f"{name} {number(value)}" for name, value in values.items())


def side_by_side(parts: Sequence[str] | Iterator[str]) -> Text:
    """Parts side by side, with line breaks only between them."""
    return Text("  ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts))
