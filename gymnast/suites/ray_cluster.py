"""Carries out runs as tasks of a Ray cluster.

A run's folder lies on storage that all nodes see, or at a URL, and holds everything that is known of the run. A task
that Ray starts again, because its node was lost, finds there whether to start, to resume, or that nothing is left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from types import ModuleType
from typing import Any

import psutil

from gymnast.errors import UsageError, first_line
from gymnast.storage.mirror import Mirror, read_by_reports
from gymnast.suites.jobs import POLL, Ended, Process, Task, stop
from gymnast.training.ray_connection import RayConnection

RECORDS_SECONDS = 10.0
"""Seconds between copies of a run's records to its URL, and from there to this process."""


class RayCluster(RayConnection):
    """A cluster that carries out runs."""

    def __init__(self, address: str, *, cpus: float, gpus: float, send_code: bool) -> None:
        """Connect; `cpus` and `gpus` are reserved for each run. `send_code` sends the current folder to the nodes.

        Raises UsageError without Ray, without a cluster at the address, and if no node has room for a run.
        """
        super().__init__(address, send_code=send_code)
        self._needs = {"CPU": cpus, "GPU": gpus}
        if not self.room():
            self.close()
            wanted = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            raise UsageError(
                f"--ray {address}: no node has the {wanted} that --cpus-per-run and --gpus-per-run ask for"
            )
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": -1}  # of lost nodes; a run that fails returns
        self._carry_out = self.ray.remote(**options)(carry_out)

    def room(self) -> int:
        """How many runs fit on the nodes that are alive."""
        return self.room_for(self._needs)

    def start(self, task: Task) -> Attempt:
        return Attempt(self.ray, self._carry_out.remote(task), task)


class Attempt:
    """A run that a node carries out, or will when it has room."""

    def __init__(self, ray: ModuleType, result: Any, task: Task) -> None:
        self._ray, self._result = ray, result
        self._mirror = None if task.url is None else Mirror(task.url, task.path)
        self._fetched = time.monotonic()

    def poll(self) -> Ended | None:
        ready = bool(self._ray.wait([self._result], timeout=0)[0])
        if self._mirror is not None and (ready or time.monotonic() - self._fetched > RECORDS_SECONDS):
            with suppress(OSError):  # what is missing now comes with the next start of the command
                self._mirror.fetch(read_by_reports)
            self._fetched = time.monotonic()
        if not ready:
            return None
        try:
            return Ended(*self._ray.get(self._result))
        except self._ray.exceptions.RayError as error:
            return Ended(1, first_line(error))

    def stop(self) -> None:
        self._ray.cancel(self._result)

    def kill(self) -> None:
        self._ray.cancel(self._result, force=True)


def carry_out(task: Task) -> Ended:
    """Carry out what is left of a run on the node that this is called on; `ray.cancel` interrupts it."""
    if task.url is None:
        return _attempt(task, task.path, None)
    with _scratch(task.url) as scratch:
        mirror = Mirror(task.url, scratch.joinpath(*task.path.parts[-3:]))  # ENV/AGENT/NAME, as everywhere
        try:
            mirror.fetch()
            ended = _attempt(task, mirror.folder, mirror)
            mirror.send_surely()
        except OSError as error:
            return Ended(1, f"{task.url}: {first_line(error)}")
        return ended


def _attempt(task: Task, path: Path, mirror: Mirror | None) -> Ended:
    """Carry out what is left of the run in a folder of this machine, and send its checkpoints as they come."""
    if task.again is not None:
        try:
            left = task.again(path)
        except UsageError as error:
            return Ended(2, first_line(error))
        if left is None:
            return Ended(0, "")
        task = left
    process, sent = Process(task), time.monotonic()
    try:
        while (ended := process.poll()) is None:
            time.sleep(POLL)
            if mirror is not None and (mirror.changed() or time.monotonic() - sent > RECORDS_SECONDS):
                with suppress(OSError):  # it is sent again with the next checkpoint, or at the end
                    mirror.send(ended=False)
                sent = time.monotonic()
        return ended
    except KeyboardInterrupt:
        stop([process])
        return process.poll() or Ended(1, "killed: its last checkpoint took too long")
    finally:
        process.kill()


@contextmanager
def _scratch(url: str) -> Iterator[Path]:
    """A folder of this machine for an attempt at the run of this URL; those of killed attempts are removed."""
    parent = Path(gettempdir()) / "gymnast-runs"
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    for stale in parent.glob(f"{name}-*"):
        process = int(stale.name.rpartition("-")[2])
        if process == os.getpid() or not psutil.pid_exists(process):
            shutil.rmtree(stale, ignore_errors=True)
    scratch = parent / f"{name}-{os.getpid()}"
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
