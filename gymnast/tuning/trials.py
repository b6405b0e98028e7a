"""Carries out trials: each trains with one seed after another, and is stopped as soon as it is pruned."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from optuna import Trial

from gymnast.errors import UsageError, first_line
from gymnast.suites import jobs, planned_run
from gymnast.suites.board import Board
from gymnast.suites.jobs import Place, Running
from gymnast.suites.planned_run import Planned
from gymnast.training.interrupts import Interrupts
from gymnast.tuning import scores
from gymnast.tuning.options import Score
from gymnast.tuning.study import Study

Plan: TypeAlias = Callable[[Trial], Sequence[Planned]]
"""The runs of a trial, one for each seed; UsageError for settings that do not go together."""


class Attempt:
    """A trial in progress."""

    def __init__(self, trial: Trial, runs: Sequence[Planned], *, score: Score, keep_replay: bool) -> None:
        self.trial, self._runs, self._score, self._keep_replay = trial, runs, score, keep_replay
        self.title = title(trial)
        self.steps = sum(run.steps for run in runs)
        self.pruned = False
        self.failure: str | None = None
        self.running: Running | None = None
        self.reported = 0
        """Env steps up to the last evaluation that Optuna knows."""
        self._returns: list[list[float]] = []  # of each seed that has been started
        self._size = 0  # of the run's log when it was read last
        self._deadline = 0.0

    @property
    def value(self) -> float | None:
        """The score of all seeds that have been evaluated; None if none has."""
        evaluated = [returns for returns in self._returns if returns]
        return scores.of_trial(evaluated, self._score) if evaluated else None

    @property
    def env_step(self) -> int:
        """Env steps of all runs so far, those of an earlier start of the study included."""
        return sum(planned_run.task(run).env_step() for run in self._runs)

    def advance(self, place: Place) -> bool:
        """Start, read and end what is due; returns whether the trial has ended."""
        if self.running is None:
            return self._next(place)
        ended = self.running.poll()  # before its evaluations are read, so that none is missed
        if not self.pruned:
            self._report()
        if ended is None:
            self._stop_if_pruned()
            return False
        self.running = None
        if self.pruned:
            return self._end()
        if ended.code:
            self.failure = jobs.why(ended)
            return self._end()
        return self._next(place)

    @property
    def _run(self) -> Planned:
        return self._runs[len(self._returns) - 1]

    def _next(self, place: Place) -> bool:
        """Go on to the next seed, or end the trial after the last one."""
        if self._returns and not self._returns[-1]:
            self.failure = "its evaluations have no return"
        if self.failure is not None or self.pruned or len(self._returns) == len(self._runs):
            return self._end()
        self._returns.append([])
        self._size = 0
        if planned_run.is_finished(self._run):  # by an earlier start of the study
            self._report()
            return self._next(place)
        planned_run.prepare(self._run)
        self.running = place.start(planned_run.task(self._run))
        return False

    def _end(self) -> bool:
        if not self._keep_replay:
            for run in self._runs[: len(self._returns)]:
                planned_run.discard(run)
        return True

    def _report(self) -> None:
        """Tell Optuna about new evaluations, one by one: what it decides does not depend on when they are read."""
        returns, before = self._returns[-1], sum(run.steps for run in self._runs[: len(self._returns) - 1])
        size = scores.log_size(self._run.path)
        if size == self._size:
            return
        self._size = size
        for step, mean_return in scores.evaluations(self._run.path)[len(returns) :]:
            returns.append(mean_return)
            value, spent = self.value, before + step
            assert value is not None
            self.trial.report(value, spent)
            self.reported = spent
            if spent < self.steps and self.trial.should_prune():
                self.pruned = True
                return

    def _stop_if_pruned(self) -> None:
        assert self.running is not None
        if self.pruned and not self._deadline:
            self.running.stop()
            self._deadline = time.monotonic() + jobs.STOP_SECONDS
        elif self.pruned and time.monotonic() > self._deadline:
            self.running.kill()


def title(trial: Trial) -> str:
    return f"trial {trial.number}"


def carry_out(study: Study, plan: Plan, *, place: Place, board: Board, score: Score, keep_replay: bool) -> int:
    """Carry out trials until there are enough; returns 0, or 128 + the number of the signal that stopped it.

    After a signal the runs write their checkpoints and end; their trials are continued by the next start.
    """
    active: list[Attempt] = []
    with Interrupts() as interrupts:
        try:
            while not interrupts.received:
                while len(active) < place.room() and (trial := study.ask()) is not None:
                    attempt = _begin(study, trial, plan, board=board, score=score, keep_replay=keep_replay)
                    active += [] if attempt is None else [attempt]
                if not active:
                    break
                for attempt in list(active):
                    if attempt.advance(place):
                        active.remove(attempt)
                        _conclude(study, attempt, board)
                board.show({attempt.title: attempt.env_step for attempt in active})
                time.sleep(jobs.POLL)
            running = [attempt.running for attempt in active if attempt.running is not None]
            if running:
                board.message("stopping; the runs are writing checkpoints")
                jobs.stop(running)
        finally:
            for attempt in active:
                if attempt.running is not None:
                    attempt.running.kill()
    return interrupts.exit_code


def _begin(study: Study, trial: Trial, plan: Plan, *, board: Board, score: Score, keep_replay: bool) -> Attempt | None:
    """The attempt at a trial; None if its settings do not go together."""
    try:
        attempt = Attempt(trial, plan(trial), score=score, keep_replay=keep_replay)
    except UsageError as error:
        study.tell(trial, None)
        board.message(f"{title(trial)} failed: {first_line(error)}")
        return None
    board.started(attempt.title, total=attempt.steps, env_step=attempt.env_step)
    return attempt


def _conclude(study: Study, attempt: Attempt, board: Board) -> None:
    """Tell Optuna and the user how the trial ended."""
    value, pruned = attempt.value, attempt.pruned
    if attempt.failure is not None:
        study.tell(attempt.trial, None)
        board.ended(attempt.title, attempt.failure)
        return
    assert value is not None
    before = study.complete
    study.tell(attempt.trial, None if pruned else value, pruned=pruned)
    if pruned:
        said = f"pruned at {attempt.reported:,} env steps: {value:,.4g}"
    else:
        best = not before or value > float(before[0].value or 0.0)
        said = f"finished: {value:,.4g}{', the best so far' if best else ''}"
    settings = ", ".join(f"{name} {shown(setting)}" for name, setting in attempt.trial.params.items())
    board.ended(attempt.title, None, said=f"{said}; {settings}")


def shown(value: object) -> str:
    """A setting in a line or a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
