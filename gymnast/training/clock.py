"""A clock that charges all time to one phase at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

Function: TypeAlias = Callable[..., Any]

WARM_UP = "warm-up"
"""The phase of each function's first call, which compiles code and allocates memory."""
_END = object()


class Clock:
    """Seconds of each phase, without those of the phases called from it: together they are the time since the start.

    `outermost` is the phase outside of all functions. `now` returns seconds.
    """

    def __init__(self, outermost: str, now: Callable[[], float]) -> None:
        self._now = now
        self._phases = [outermost]  # of the functions that are running, the innermost last
        self._charged = [outermost]  # what their own time is charged to: the phase, or the warm-up
        self._warming = False
        self._since = now()
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    def turn(self) -> None:
        """Charge the time since the last turn."""
        now = self._now()
        self.seconds[self._charged[-1]] += now - self._since
        self._since = now

    def timed(
        self,
        phase: str,
        function: Function,
        *,
        within: str | None = None,
        inner: Function | None = None,
        warms_up: bool = True,
    ) -> Function:
        """The function as a phase, with `within` only in calls from that phase.

        A call from the same phase is part of it. `inner` is called in place of a function that is timed, and
        `warms_up` says whether the first call is warm-up.
        """
        phases, charged, turn, first = self._phases, self._charged, self.turn, warms_up
        inner = inner or function

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal first
            if phases[-1] == phase or (within is not None and within not in phases):
                return function(*args, **kwargs)
            turn()
            phases.append(phase)
            charged.append(WARM_UP if first or self._warming else phase)
            first = False
            self.calls[phase] += 1
            try:
                return inner(*args, **kwargs)
            finally:
                turn()
                phases.pop()
                charged.pop()

        return run

    def timed_iterator(self, phase: str, function: Function, *, within: str | None = None) -> Function:
        """Like `timed` for a function that returns an iterator: drawing an item is a call."""
        draw = self.timed(phase, next, within=within)

        def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
            yield from iter(partial(draw, function(*args, **kwargs), _END), _END)

        return run

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Charge everything in this block to the warm-up."""
        self.turn()
        self._charged.append(WARM_UP)
        self._warming = True
        try:
            yield
        finally:
            self.turn()
            self._charged.pop()
            self._warming = False
