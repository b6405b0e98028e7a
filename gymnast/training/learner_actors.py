"""The other learners of a run as actors of a Ray cluster, so that they may be on other machines.

Nothing is kept in an actor that a checkpoint does not hold, and none is started again: a lost one ends the run.
"""

from __future__ import annotations

import time
from typing import Any

from gymnast.errors import UsageError, first_line
from gymnast.training.learners import POLL, Task, work
from gymnast.training.ray_connection import RayConnection


class Learner:
    """What an actor is made of."""

    def work(self, task: Task, number: int) -> str | None:
        return work(task, number)


class Actors:
    """Learners as actors, each with a CPU of its own, and a GPU if they learn on one."""

    def __init__(self, connection: RayConnection, *, count: int, gpu: bool) -> None:
        """Raises UsageError if the cluster has no room for so many."""
        self._ray = connection.ray
        needs = {"CPU": 1.0, "GPU": float(gpu)}
        if (room := connection.room_for(needs)) < count:
            what = "CPU and GPU" if gpu else "CPU"
            raise UsageError(f"--ray: the cluster has room for {room} of {count} more learners, each with a {what}")
        self._class = self._ray.remote(num_cpus=1, num_gpus=int(gpu), max_restarts=0)(Learner)
        self._actors: list[Any] = []
        self._results: list[Any] = []

    def start(self, task: Task) -> None:
        self._actors = [self._class.remote() for _ in range(1, task.meeting.count)]
        self._results = [actor.work.remote(task, number) for number, actor in enumerate(self._actors, start=1)]

    def cause(self, *, wait: float = 0.0) -> str | None:
        over = time.monotonic() + wait
        while True:
            for number, result in enumerate(self._results, start=1):
                if (cause := self._cause(result)) is not None:
                    return f"learner {number}: {cause}"
            if time.monotonic() >= over:
                return None
            time.sleep(POLL)

    def _cause(self, result: Any) -> str | None:
        if not self._ray.wait([result], timeout=0)[0]:
            return None
        try:
            cause: str | None = self._ray.get(result)
        except self._ray.exceptions.RayError as error:
            return first_line(error)
        return cause

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors, self._results = [], []
