"""The connection of this process to a Ray cluster. Only this file imports Ray."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from gymnast.errors import UsageError, first_line, require

if TYPE_CHECKING:
    from typing_extensions import Self  # of Python 3.10

CONNECT_SECONDS = 5.0
"""Seconds to wait for an answer at the cluster's address."""


class RayConnection:
    """A cluster that exists, or one of this machine that ends with this process; a context manager."""

    def __init__(self, address: str, *, send_code: bool = False) -> None:
        """Connect; `send_code` sends the current folder to the nodes.

        Raises UsageError without Ray, and without a cluster at the address.
        """
        require("ray", of="--ray", extra="ray")
        self.ray: ModuleType = import_module("ray")
        self._on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts a handler of its own there, and leaves it
        settings: dict[str, Any] = {"working_dir": os.getcwd()} if send_code else {}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported unless the user wants it
        try:
            _reach(address)
            context = self.ray.init(address, runtime_env=settings, log_to_driver=False, logging_level="error")
        except Exception as error:  # Ray raises the bare class where a busy machine starts a cluster too slowly
            raise UsageError(f"--ray {address}: {first_line(error)}") from None
        self.dashboard: str | None = context.dashboard_url or None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def room_for(self, needs: Mapping[str, float]) -> int:
        """How many tasks with these needs fit on the nodes that are alive."""
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        wanted = [(name, amount) for name, amount in needs.items() if amount]
        return sum(min(int(node.get(name, 0.0) / amount) for name, amount in wanted) for node in alive)


def _reach(address: str) -> None:
    """Raise OSError if nobody answers at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise OSError(f"no cluster answers there: {error.strerror or error}") from None
