"""The processes of a run with several learners, joined by torch.distributed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import FileStore, Store, TCPStore  # type: ignore[attr-defined]

from gymnast.agents.optim.together import LearnerLostError, Together
from gymnast.errors import first_line

PATIENCE = timedelta(days=1)
"""How long learners wait for each other: an evaluation may take hours, and a process that ends is noticed at once."""
INTERFACE, LOOPBACK = "GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo"
"""The variable by which gloo chooses a network interface, and the one of connections that stay on this machine."""


@dataclass(frozen=True)
class Meeting:
    """Where the learners of a run find each other: in a file on this machine, or at an address."""

    count: int
    """Learners."""
    backend: str
    """Of `torch.distributed`."""
    file: str | None = None
    host: str = ""
    port: int = 0

    def store(self) -> Store:
        """What learners read that others have written."""
        if self.file is not None:
            return FileStore(self.file, self.count)
        return TCPStore(self.host, self.port, is_master=False, timeout=PATIENCE)


def backend(device: str, *, learners: int) -> str:
    """NCCL if each learner on this machine has its own GPU, otherwise gloo."""
    own_gpus = device.startswith("cuda") and torch.cuda.device_count() >= learners and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if own_gpus else "gloo"


def said_ready(number: int) -> str:
    """What a learner writes into the store once it has built everything."""
    return f"learner {number} is ready"


class Group(Together):
    """The learners as processes. All methods are collective: each learner calls them in the same order.

    Numbers on a GPU that gloo exchanges are copied to the host for that.
    """

    def __init__(self, meeting: Meeting, store: Store, number: int, num_envs: int) -> None:
        super().__init__(number, meeting.count, num_envs)
        self._on_host = meeting.backend == "gloo"
        how: dict[str, Any] = {"rank": number, "world_size": meeting.count, "timeout": PATIENCE}
        with _lost(), _on_loopback() if meeting.file is not None else nullcontext():
            dist.init_process_group(meeting.backend, store=store, **how)

    def add(self, values: Tensor) -> None:
        with _lost():
            if values.device.type == "cpu" or not self._on_host:
                dist.all_reduce(values)
            else:
                dist.all_reduce(on_host := values.cpu())
                values.copy_(on_host)

    def gather(self, values: Tensor) -> Tensor:
        told = values.cpu() if self._on_host else values
        found = [torch.empty_like(told) for _ in range(self.count)]
        with _lost():
            dist.all_gather(found, told)
        return torch.stack(found).to(values.device)

    def hear(self, told: Any = None) -> Any:
        """What learner 0 tells all."""
        box = [told]
        with _lost():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def share(self, told: Any) -> list[Any]:
        """What each learner tells all, in their order."""
        found: list[Any] = [None] * self.count
        with _lost():
            dist.all_gather_object(found, told)
        return found

    def hand_out(self, parts: Sequence[Any] = ()) -> Any:
        """This learner's own of the parts that learner 0 has for each."""
        box: list[Any] = [None]
        with _lost():
            dist.scatter_object_list(box, list(parts) if self.number == 0 else None, src=0)
        return box[0]

    def collect(self, part: Any) -> list[Any]:
        """The parts of all, in their order, for learner 0; for others an empty list."""
        found: list[Any] | None = [None] * self.count if self.number == 0 else None
        with _lost():
            dist.gather_object(part, found, dst=0)
        return found or []

    def leave(self) -> None:
        dist.destroy_process_group()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have gloo connect inside this machine only."""
    before = os.environ.get(INTERFACE)
    os.environ[INTERFACE] = LOOPBACK
    try:
        yield
    finally:
        del os.environ[INTERFACE]
        if before is not None:
            os.environ[INTERFACE] = before


@contextmanager
def _lost() -> Iterator[None]:
    """LearnerLostError in place of torch's errors, which are of many kinds, about a connection that has ended."""
    try:
        yield
    except RuntimeError as error:
        raise LearnerLostError(f"a learner does not answer any more ({first_line(error)})") from error
