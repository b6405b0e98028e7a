"""Progress of many runs: a bar for each on a terminal, otherwise a line when one starts and ends."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gymnast.output.panel import ProgressConsole, duration

PERIOD = 0.5
"""Seconds between updates."""


class Board:
    """Progress of many runs on stderr; a context manager."""

    def __init__(self, *, runs: int, done: int, steps: int) -> None:
        """`runs` in total, of which `done` were already finished; `steps` are the env steps of the others."""
        self._runs, self._done, self._steps = runs, done, steps
        self._past = 0  # env steps of the runs that have ended since
        self._first: dict[str, int] = {}  # where each run started here
        self._totals: dict[str, int] = {}
        self._console = ProgressConsole(stderr=True)
        plain = self._console.is_dumb_terminal or self._console.options.ascii_only or not sys.stderr.isatty()
        self._live = None if plain else Live(console=self._console, auto_refresh=False)
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def message(self, text: str) -> None:
        """Print a permanent line."""
        try:
            self._console.print(Text(text), soft_wrap=True)
        except (OSError, ValueError):  # the terminal is gone; the runs continue
            self._console.quiet = True

    def started(self, title: str, *, total: int, env_step: int) -> None:
        """A run starts, or resumes from a step."""
        self._first[title], self._totals[title] = env_step, total
        if self._live is None:
            self.message(f"{title} {f'resumed from {env_step:,}' if env_step else 'started'}")

    def ended(self, title: str, failure: str | None, *, said: str = "finished") -> None:
        """A run has ended; `failure` is its message if it failed, `said` what is printed if not."""
        self._past += self._totals.pop(title) - self._first[title]
        self._done += failure is None
        self.message(f"{title} {said if failure is None else f'failed: {failure}'} ({self._done}/{self._runs})")

    def show(self, env_steps: Mapping[str, int]) -> None:
        """Show the progress of the current runs, if an update is due."""
        now = time.monotonic()
        if self._live is None or now - self._shown < PERIOD:
            return
        self._shown = now
        try:
            self._live.update(self._table(env_steps, now), refresh=True)
        except (OSError, ValueError):
            self._console.quiet = True

    def _table(self, env_steps: Mapping[str, int], now: float) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=60)
        table.add_column(width=30)
        table.add_column(no_wrap=True, justify="right")
        gone = self._past + sum(step - self._first[title] for title, step in env_steps.items())
        rate = gone / max(now - self._began, 1e-9)
        left = duration((self._steps - gone) / rate if gone > 0 else math.nan)
        bar = ProgressBar(total=max(self._steps, 1), completed=gone, complete_style="cyan")
        table.add_row(Text(f"{self._done}/{self._runs} runs done", style="bold"), bar, f"{left} left")
        for title, step in env_steps.items():
            total = self._totals[title]
            table.add_row(Text(title), ProgressBar(total=total, completed=step), f"{step:,}/{total:,}")
        return table
