"""A crew: objects in processes of their own that answer requests of this process, each one request at a time.

Nobody waits in a queue: a member works on one request, and then waits for the next one. So members that are faster than
this process wait for it, and nothing is lost with a member but its answer to that request.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeAlias

import cloudpickle  # type: ignore[import-untyped]

from gymnast.envs.errors import EnvError
from gymnast.envs.rows.processes import WorkerError
from gymnast.envs.rows.spawned import end, exit_cause
from gymnast.errors import first_line
from gymnast.machine import limit_threads

CLOSE_TIMEOUT = 5.0
"""Seconds that members get to end before they are killed."""


class Member(Protocol):
    """The object of a member."""

    def answer(self, request: Any, handed: Any) -> Any:
        """The answer to a request; `handed` is what was published for it, or None."""
        ...

    def close(self) -> None: ...


Maker: TypeAlias = Callable[[], Member]
"""Makes the object in the member's process."""


@dataclass(frozen=True)
class Lost:
    """What comes in place of an answer from a member that ended without one."""

    cause: str


class Crew(Protocol):
    """Members by number."""

    def start(self, number: int, maker: Maker) -> None:
        """Start a member, also in place of a lost one. ValueError if its maker cannot be sent to another process."""
        ...

    def publish(self, value: Any) -> Any:
        """Make a value ready to be handed to several members; returns what `ask` takes."""
        ...

    def ask(self, number: int, request: Any, handed: Any = None) -> None:
        """Send a request to a member that has answered its last one."""
        ...

    def answers(self, timeout: float) -> list[tuple[int, Any]]:
        """The answers, or `Lost`, that have come within so many seconds, each with the member's number.

        Raises WorkerError if a member's own code failed: in its place another one would fail too.
        """
        ...

    def close(self) -> None:
        """End all members."""
        ...


def pickled(maker: Maker) -> bytes:
    """A maker as bytes; ValueError if it cannot be sent to another process."""
    try:
        return cloudpickle.dumps(maker)  # type: ignore[no-any-return]
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ValueError(f"the environment cannot be sent to another process ({first_line(error)})") from None


class LocalCrew:
    """Members that are processes of this machine, spawned, not forked: a fork would copy locks that threads hold."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._context = multiprocessing.get_context("spawn")
        self._members: dict[int, tuple[BaseProcess, Connection]] = {}
        self._asked: set[int] = set()

    def start(self, number: int, maker: Maker) -> None:
        content = pickled(maker)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(content, theirs), daemon=True)
        process.name = f"{self._name} {number}"
        process.start()
        theirs.close()
        self._members[number] = process, ours

    def publish(self, value: Any) -> bytes:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def ask(self, number: int, request: Any, handed: Any = None) -> None:
        self._asked.add(number)
        try:
            self._members[number][1].send((request, handed))
        except OSError:
            return  # it is lost, as `answers` will find

    def answers(self, timeout: float) -> list[tuple[int, Any]]:
        asked = {number: self._members[number] for number in sorted(self._asked)}
        ready = wait([part for process, line in asked.values() for part in (line, process.sentinel)], timeout)
        found = []
        for number, (process, line) in asked.items():
            if line in ready or process.sentinel in ready:
                found.append((number, self._hear(process, line)))
                self._asked.discard(number)
        return found

    def _hear(self, process: BaseProcess, line: Connection) -> Any:
        try:
            kind, content = line.recv()
        except (EOFError, OSError):
            process.join(1.0)
            line.close()
            return Lost(f"{process.name} (pid {process.pid}) {exit_cause(process)}")
        if kind == "error":
            raise WorkerError(f"{process.name} (pid {process.pid}) stopped by {content}")
        return content

    def close(self) -> None:
        for _, line in self._members.values():
            line.close()  # their only sign that all is over
        end((process for process, _ in self._members.values()), patience=CLOSE_TIMEOUT)
        self._members, self._asked = {}, set()


def _serve(content: bytes, line: Connection) -> None:
    """Answer the requests of a connection until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its members
    limit_threads(1)
    try:
        member: Member = pickle.loads(content)()  # noqa: S301 - from our own parent
        while (asked := _next(line)) is not None:
            request, handed = asked
            given = None if handed is None else pickle.loads(handed)  # noqa: S301 - from our own parent
            line.send(("answer", member.answer(request, given)))
        member.close()
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the parent is gone
    except EnvError as error:  # the parent reports it in one line
        line.send(("error", str(error)))
    except Exception as error:
        line.send(("error", f"{type(error).__name__}: {first_line(error)}"))
        raise


def _next(line: Connection) -> tuple[Any, Any] | None:
    """The next request and what is handed with it; None once the parent has closed the connection or is gone."""
    try:
        return line.recv()  # type: ignore[no-any-return]
    except (EOFError, ConnectionResetError):
        return None
