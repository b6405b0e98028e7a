"""A run from one event to the next: logs, evaluations and checkpoints, each due after a number of env steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from gymnast.envs.errors import EnvError
from gymnast.output.panel import Panel, PanelState
from gymnast.training.interrupts import Interrupts


class Run(Protocol):
    """The run that `Events` advance."""

    @property
    def env_step(self) -> int: ...

    @property
    def solved(self) -> bool:
        """Whether it stops early, because it reached the stop return or a callback stopped it."""
        ...

    def advance(self, until: int) -> None:
        """Train until `env_step >= until`, or until `Events.pulse`, called every tenth of a second, returns True."""
        ...

    def panel_state(self) -> PanelState: ...


@dataclass(frozen=True)
class Event:
    """Something that happens every `period` env steps; never if the period is 0."""

    name: str
    period: int
    happen: Callable[[], object]
    repeatable: bool = False
    """Whether a signal may cut it short by KeyboardInterrupt: it is then still due, and a resumed run repeats it."""


class Events:
    """The events of a run, in the order in which they happen if several are due.

    Every period counts env steps, so that the clock does not affect a run; only the panel depends on it.
    """

    def __init__(self, run: Run, events: Sequence[Event], *, steps: int, panel: Panel) -> None:
        self.interrupts = Interrupts()
        self._run = run
        self._steps = steps
        self._panel = panel
        self._events = [event for event in events if event.period]
        self._next = {event.name: event.period for event in self._events}

    def go(self) -> None:
        """Train until the steps are done, the run is solved or a signal arrives.

        Raises KeyboardInterrupt for a second SIGINT, which may come in the middle of a step.
        """
        self._show()
        while True:
            self._handle()
            if self._run.env_step >= self._steps or self._run.solved or self.interrupts.received:
                break
            self._run.advance(min([self._steps, *self._next.values()]))
        self._show()

    def pulse(self) -> bool:
        """Show the run if the panel is due; returns whether a signal arrived."""
        if self._panel.due(perf_counter()):
            self._show()
        return self.interrupts.received is not None

    def state(self) -> dict[str, int]:
        """The env step at which each event is next due."""
        return dict(self._next)

    def restore(self, state: Mapping[str, int]) -> None:
        for event in self._events:
            self._next[event.name] = state.get(event.name, self._after_now(event))

    def _handle(self) -> None:
        """Run every event that is due."""
        for event in self._events:
            due = self._next[event.name]
            if self._run.env_step < due:
                continue
            self._next[event.name] = self._after_now(event)  # first, so that a checkpoint that it saves holds it
            try:
                event.happen()
            except KeyboardInterrupt:
                if not event.repeatable or self.interrupts.received is None:
                    raise
                self._next[event.name] = due
                return
            except EnvError:
                self._next[event.name] = due
                raise

    def _after_now(self, event: Event) -> int:
        return (self._run.env_step // event.period + 1) * event.period

    def _show(self) -> None:
        self._panel.update(self._run.panel_state())
