"""Events happen by env steps, in their order; a signal stops the run, and what it cut short is still due."""

from collections.abc import Callable
from typing import Any

import pytest

from gymnast.output.panel import PanelState
from gymnast.training.events import Event, Events


class Panel:
    """Counts the states that it is shown."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.is_due = False

    def due(self, now: float) -> bool:
        return self.is_due

    def update(self, state: PanelState) -> None:
        self.shown.append(state.env_step)


class Run:
    """Takes `stride` env steps at a time, and notes what happens when."""

    def __init__(self, *, steps: int = 100, stride: int = 1, solved_at: int = 10**9, **periods: int) -> None:
        self.env_step, self.stride, self.solved_at = 0, stride, solved_at
        self.seen: list[tuple[str, int]] = []
        self.then: dict[str, Callable[[], Any]] = {}
        self.panel: Any = Panel()
        made = [Event(name, period, self.happens(name), name == "eval") for name, period in periods.items()]
        self.events = Events(self, made, steps=steps, panel=self.panel)

    def happens(self, name: str) -> Callable[[], None]:
        def happen() -> None:
            self.seen.append((name, self.env_step))
            self.then.get(name, lambda: None)()

        return happen

    @property
    def solved(self) -> bool:
        return self.env_step >= self.solved_at

    def advance(self, until: int) -> None:
        while self.env_step < until and not self.events.pulse():
            self.env_step += self.stride

    def panel_state(self) -> PanelState:
        return PanelState(self.env_step, 100)


def test_events_happen_at_their_periods_and_in_their_order() -> None:
    run = Run(log=40, eval=60, checkpoint=40, never=0)
    run.events.go()
    assert run.seen == [("log", 40), ("checkpoint", 40), ("eval", 60), ("log", 80), ("checkpoint", 80)]
    assert run.env_step == 100
    assert run.events.state() == {"log": 120, "eval": 120, "checkpoint": 120}
    assert run.panel.shown == [0, 100]


def test_what_was_passed_in_one_stride_happens_once() -> None:
    run = Run(stride=35, log=10, eval=60)
    run.events.go()
    assert run.seen == [("log", 35), ("log", 70), ("eval", 70), ("log", 105)]


def test_a_solved_run_stops() -> None:
    run = Run(log=40, eval=60, solved_at=60)
    run.events.go()
    assert run.env_step == 60


def test_the_panel_is_shown_when_it_is_due() -> None:
    run = Run(steps=2)
    run.panel.is_due = True
    run.events.go()
    assert run.panel.shown == [0, 0, 1, 2]


def test_what_an_event_saves_holds_when_it_is_due_again() -> None:
    run, saved = Run(checkpoint=40), []
    run.then["checkpoint"] = lambda: saved.append(run.events.state())
    run.events.go()
    assert saved == [{"checkpoint": 80}, {"checkpoint": 120}]


def cut(run: Run, received: int | None) -> Callable[[], None]:
    def happen() -> None:
        run.events.interrupts.received = received
        raise KeyboardInterrupt

    return happen


def test_an_evaluation_that_a_signal_cuts_is_still_due() -> None:
    run = Run(log=50, eval=50, checkpoint=50)
    run.then["eval"] = cut(run, 2)
    run.events.go()
    assert run.seen == [("log", 50), ("eval", 50)]  # and no checkpoint, which would count it as done
    assert run.events.state() == {"log": 100, "eval": 50, "checkpoint": 50}
    again = Run(log=50, eval=50, checkpoint=50)
    again.env_step = 50
    again.events.restore(run.events.state())
    again.events.go()
    assert again.seen == [(name, step) for step in (50, 100) for name in ("log", "eval", "checkpoint")][1:]


@pytest.mark.parametrize(("event", "received"), [("eval", None), ("log", 2), ("checkpoint", 2)])
def test_other_interrupts_end_the_run(event: str, received: int | None) -> None:
    """One without a signal is not ours; a second SIGINT leaves a log or a checkpoint as it is."""
    run = Run(log=50, eval=50, checkpoint=50)
    run.then[event] = cut(run, received)
    with pytest.raises(KeyboardInterrupt):
        run.events.go()


def test_a_signal_stops_between_two_steps() -> None:
    run = Run(log=50)
    run.then["log"] = lambda: setattr(run.events.interrupts, "received", 15)
    run.events.go()
    assert (run.env_step, run.seen) == (50, [("log", 50)])


def test_an_event_that_the_saved_run_did_not_have_begins_at_its_next_period() -> None:
    run = Run(log=50, eval=30)
    run.env_step = 70
    run.events.restore({"log": 100, "other": 80})
    assert run.events.state() == {"log": 100, "eval": 90}
