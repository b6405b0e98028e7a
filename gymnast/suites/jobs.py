"""Starts and watches training runs as parallel processes, and stops them with the process that runs them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gymnast.storage.metrics_log import last_record
from gymnast.suites.board import Board
from gymnast.training.interrupts import Interrupts

POLL = 0.1
"""Seconds between polls of the processes."""
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

    @property
    def log(self) -> Path:
        return self.path.with_name(f"{self.path.name}.log")

    def env_step(self) -> int:
        """The env steps done so far, by the run's own records."""
        record = last_record(self.path / "metrics.jsonl")
        return 0 if record is None else int(record.get("env_step", 0))


@dataclass(frozen=True)
class Outcome:
    """The result of all tasks."""

    failures: dict[str, str]
    """The last output line of each failed run, by its title."""
    exit_code: int
    """0, or 128 + the number of the signal that stopped everything."""


def run(tasks: Sequence[Task], *, jobs: int, board: Board, done: Callable[[Task], None]) -> Outcome:
    """Run every task, `jobs` in parallel; a failed one does not stop the others.

    `done` is called with each task that did not fail.
    After SIGINT or SIGTERM the runs write their checkpoints and end; a second SIGINT ends them at once.
    """
    waiting, running = deque(tasks), dict[Task, "subprocess.Popen[bytes]"]()
    failures: dict[str, str] = {}
    with Interrupts() as interrupts:
        try:
            while (waiting or running) and not interrupts.received:
                while waiting and len(running) < jobs:
                    task = waiting.popleft()
                    running[task] = _start(task)
                    board.started(task.title, total=task.steps, env_step=task.env_step())
                for task in [task for task, process in running.items() if process.poll() is not None]:
                    code = _end(running.pop(task))
                    if code:
                        failures[task.title] = _why(task, code)
                    else:
                        done(task)
                    board.ended(task.title, failures.get(task.title))
                board.show({task.title: task.env_step() for task in running})
                time.sleep(POLL)
            if running:
                board.message("stopping; the runs are writing checkpoints")
            _stop(list(running.values()))
        finally:
            for process in running.values():
                process.kill()
                _end(process)
    return Outcome(failures, interrupts.exit_code)


def _start(task: Task) -> subprocess.Popen[bytes]:
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with open(task.log, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gymnast.cli.watched", *task.words],
            stdin=subprocess.PIPE,  # stays open as long as this process lives; see gymnast.cli.watched
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C in the terminal goes only to this process, which forwards it once
        )


def _end(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    process.stdin.close()
    return process.wait()


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask the processes to end, and wait for them up to the time limit."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            continue


def _why(task: Task, code: int) -> str:
    """The last output line of a run, or the signal that ended it."""
    lines = [
        line.strip() for line in task.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    said = lines[-1].removeprefix("gymnast: ") if lines else "no output"
    return said if code > 0 else f"killed by signal {-code}; its last line: {said}"
