"""Carries out training runs in parallel and watches them; they stop with the process that runs them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from gymnast.storage.metrics_log import last_record
from gymnast.suites.board import Board
from gymnast.training.interrupts import Interrupts

POLL = 0.1
"""Seconds between polls of the runs."""
STOP_SECONDS = 25.0
"""Seconds that runs get for their last checkpoint after a signal."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Task:
    """One run to start or resume."""

    title: str
    words: tuple[str, ...]
    """The words after `gymnast`."""
    path: Path
    """The run's folder; its output goes to a .log file next to it."""
    steps: int
    again: Callable[[Path], Task | None] | None = None
    """Decides anew, where the run is carried out and in this folder, between starting and resuming; None if nothing is
    left to do."""
    url: str | None = None
    """Where the run's folder is kept, if not at `path`, which is then this machine's copy."""

    @property
    def log(self) -> Path:
        return self.path.with_name(f"{self.path.name}.log")

    def env_step(self) -> int:
        """The env steps done so far, by the run's own records."""
        record = last_record(self.path / "metrics.jsonl")
        return 0 if record is None else int(record.get("env_step", 0))


class Ended(NamedTuple):
    """How an attempt ended."""

    code: int
    """Its exit code; negative, the number of the signal that killed it."""
    why: str
    """Its last line of output."""


class Running(Protocol):
    """A run that has been started."""

    def poll(self) -> Ended | None:
        """How it ended; None as long as it runs."""
        ...

    def stop(self) -> None:
        """Ask it to write its last checkpoint and end."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Place(Protocol):
    """Where runs are carried out."""

    def room(self) -> int:
        """How many runs may run at once, now."""
        ...

    def start(self, task: Task) -> Running: ...


@dataclass(frozen=True)
class Outcome:
    """The result of all tasks."""

    failures: dict[str, str]
    """The last output line of each failed run, by its title."""
    exit_code: int
    """0, or 128 + the number of the signal that stopped everything."""


def run(tasks: Sequence[Task], *, place: Place, board: Board, done: Callable[[Task], None]) -> Outcome:
    """Carry out every task, as many in parallel as the place has room for; a failed one does not stop the others.

    `done` is called with each task that did not fail.
    After SIGINT or SIGTERM the runs write their checkpoints and end; a second SIGINT ends them at once.
    """
    waiting, running = deque(tasks), dict[Task, Running]()
    failures: dict[str, str] = {}
    with Interrupts() as interrupts:
        try:
            while (waiting or running) and not interrupts.received:
                while waiting and len(running) < place.room():
                    task = waiting.popleft()
                    running[task] = place.start(task)
                    board.started(task.title, total=task.steps, env_step=task.env_step())
                for task, ended in [(task, found) for task, begun in running.items() if (found := begun.poll())]:
                    del running[task]
                    if ended.code:
                        failures[task.title] = why(ended)
                    else:
                        done(task)
                    board.ended(task.title, failures.get(task.title))
                board.show({task.title: task.env_step() for task in running})
                time.sleep(POLL)
            if running:
                board.message("stopping; the runs are writing checkpoints")
            stop(list(running.values()))
        finally:
            for begun in running.values():
                begun.kill()
    return Outcome(failures, interrupts.exit_code)


class Processes:
    """Processes of this machine."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def room(self) -> int:
        return self._jobs

    def start(self, task: Task) -> Process:
        return Process(task)


class Process:
    """A run in a process of its own, which ends with this one."""

    def __init__(self, task: Task) -> None:
        self._log = task.log
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gymnast.cli.watched", *task.words],
                stdin=subprocess.PIPE,  # stays open as long as this process lives; see gymnast.cli.watched
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C in the terminal goes only to this process, which forwards it once
            )

    def poll(self) -> Ended | None:
        code = self._process.poll()
        if code is None:
            return None
        self._close()
        return Ended(code, last_line(self._log))

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._close()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def stop(running: Sequence[Running]) -> None:
    """Ask the runs to end, and wait for them up to the time limit."""
    for begun in running:
        begun.stop()
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and any(begun.poll() is None for begun in running):
        time.sleep(POLL)


def why(ended: Ended) -> str:
    """The last line of a failed run, and the signal that ended it."""
    return ended.why if ended.code > 0 else f"killed by signal {-ended.code}; its last line: {ended.why}"


def last_line(log: Path) -> str:
    """The last line of a run's output."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("gymnast: ") if lines else "no output"
