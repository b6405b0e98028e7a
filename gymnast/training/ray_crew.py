"""A crew whose members are Ray actors, each on any node of a cluster.

Ray restarts no actor here and repeats no request: it would run the member's constructor again without telling anybody.
A member whose node or process is gone is lost, as one of this machine is, and whoever employs it starts another.
"""

from __future__ import annotations

import pickle
from typing import Any

from gymnast.envs.rows.processes import WorkerError
from gymnast.errors import UsageError, first_line
from gymnast.machine import limit_threads
from gymnast.training.crew import Lost, Maker, Member, pickled
from gymnast.training.ray_connection import RayConnection

NEEDS = {"CPU": 1.0}
"""What the cluster reserves for each member."""


class RayCrew:
    """Members on a cluster; what is published to them goes through Ray's object store, once to each node."""

    def __init__(self, name: str, address: str, size: int) -> None:
        """Raises UsageError without Ray, without a cluster at the address, and if it has no room for `size` members."""
        self._name = name
        self._connection = RayConnection(address)
        self._ray = self._connection.ray
        if (room := self._connection.room_for(NEEDS)) < size:
            self._connection.close()
            raise UsageError(f"--ray {address}: the cluster has a CPU for {room} processes, {size} are asked for")
        options: dict[str, Any] = {"num_cpus": NEEDS["CPU"], "max_restarts": 0, "max_task_retries": 0}
        self._class = self._ray.remote(**options)(_Serving)
        self._members: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}  # number of the member by the reference of its answer

    def start(self, number: int, maker: Maker) -> None:
        self._members[number] = self._class.remote(pickled(maker))

    def publish(self, value: Any) -> Any:
        return self._ray.put(value)

    def ask(self, number: int, request: Any, handed: Any = None) -> None:
        self._asked[self._members[number].answer.remote(request, handed)] = number

    def answers(self, timeout: float) -> list[tuple[int, Any]]:
        asked = list(self._asked)
        if asked and self._ray.wait(asked, timeout=timeout)[0]:
            ready, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0)
            return [self._hear(self._asked.pop(reference), reference) for reference in ready]
        return []

    def _hear(self, number: int, reference: Any) -> tuple[int, Any]:
        errors, called = self._ray.exceptions, f"{self._name} {number} on the cluster"
        try:
            return number, self._ray.get(reference)
        except errors.RayTaskError as error:  # the member's own code
            cause = error.cause
            raise WorkerError(f"{called} stopped by {type(cause).__name__}: {first_line(cause)}") from None
        except errors.RayError as error:
            return number, Lost(f"{called} is lost ({first_line(error).rstrip('.')})")

    def close(self) -> None:
        for member in self._members.values():
            self._ray.kill(member)
        self._members, self._asked = {}, {}
        if self._ray.is_initialized():
            self._connection.close()


class _Serving:
    """The Ray actor of a member, which is made at the first request: what goes wrong then is an answer."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._member: Member | None = None

    def answer(self, request: Any, handed: Any) -> Any:
        if self._member is None:
            limit_threads(1)
            self._member = pickle.loads(self._content)()  # noqa: S301 - from our own driver
        return self._member.answer(request, handed)
