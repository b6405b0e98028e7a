"""Processes that a run has spawned: for tests of runs that end, are stopped or killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import psutil


def eventually(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait until a condition holds; AssertionError after so many seconds."""
    over = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < over
        time.sleep(0.05)


def spawned(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Those that multiprocessing has started below a process."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
