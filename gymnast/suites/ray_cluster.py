"""Carries out runs as tasks of a Ray cluster.

A run's folder lies on storage that all nodes see, and holds everything that is known of the run: a task that Ray starts
again, because its node was lost, finds there whether to start, to resume, or that nothing is left to do.
"""

from __future__ import annotations

import time
from types import ModuleType, TracebackType
from typing import Any

from gymnast.errors import UsageError, first_line
from gymnast.suites.jobs import POLL, Ended, Process, Task, stop
from gymnast.training.ray_connection import RayConnection


class RayCluster:
    """A cluster that exists, or one of this machine that ends with this process; a context manager."""

    def __init__(self, address: str, *, cpus: float, gpus: float, send_code: bool) -> None:
        """Connect; `cpus` and `gpus` are reserved for each run. `send_code` sends the current folder to the nodes.

        Raises UsageError without Ray, without a cluster at the address, and if no node has room for a run.
        """
        self._connection = RayConnection(address, send_code=send_code)
        self._ray = self._connection.ray
        self._needs = {"CPU": cpus, "GPU": gpus}
        self.dashboard = self._connection.dashboard
        if not self.room():
            self._connection.close()
            wanted = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            raise UsageError(
                f"--ray {address}: no node has the {wanted} that --cpus-per-run and --gpus-per-run ask for"
            )
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": -1}  # of lost nodes; a run that fails returns
        self._carry_out = self._ray.remote(**options)(carry_out)

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def room(self) -> int:
        """How many runs fit on the nodes that are alive."""
        return self._connection.room(self._needs)

    def start(self, task: Task) -> Attempt:
        return Attempt(self._ray, self._carry_out.remote(task))


class Attempt:
    """A run that a node carries out, or will when it has room."""

    def __init__(self, ray: ModuleType, result: Any) -> None:
        self._ray, self._result = ray, result

    def poll(self) -> Ended | None:
        if not self._ray.wait([self._result], timeout=0)[0]:
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
    if task.again is not None:
        try:
            left = task.again()
        except UsageError as error:
            return Ended(2, first_line(error))
        if left is None:
            return Ended(0, "")
        task = left
    process = Process(task)
    try:
        while (ended := process.poll()) is None:
            time.sleep(POLL)
        return ended
    except KeyboardInterrupt:
        stop([process])
        return process.poll() or Ended(1, "killed: its last checkpoint took too long")
    finally:
        process.kill()
