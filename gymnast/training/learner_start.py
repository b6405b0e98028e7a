"""Starts the other learners of a run, as processes of this machine or as actors of a Ray cluster, and meets them."""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch.distributed as dist
from torch import multiprocessing as torch_multiprocessing
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from gymnast.agents.optim.together import COMMON
from gymnast.envs.rows.spawned import end, exit_cause
from gymnast.storage.last import LearnerState, RunState
from gymnast.training.async_worker import pickled
from gymnast.training.learner_group import PATIENCE, Group, Meeting, backend, said_ready
from gymnast.training.learners import POLL, Followers, LearnersLoop, Task, work
from gymnast.training.parts import Parts

START_TIMEOUT = 300.0
"""Seconds that learners get to import everything and to build their environments."""
CLOSE_TIMEOUT = 5.0
"""Seconds that learners get to close their environments before they are killed."""


def learners_loop(parts: Parts, stack: ExitStack, state: RunState | None) -> tuple[LearnersLoop, list[str]]:
    """The loop of learner 0, once the others have started, from `state` if a run is resumed; and what to report.

    Raises ValueError or UsageError if one of them cannot start.
    """
    if dist.is_initialized():
        raise ValueError("learners use torch.distributed, whose default group this process has made already")
    options = parts.options
    content = pickled(type(parts.agent), options, parts.config, parts.env_like, of="learners")
    if options.ray is None:
        followers: Followers = Processes()
        meeting, store = _here(parts, stack)
    else:
        followers, meeting, store = _on_ray(options.ray, parts, stack)
    stack.callback(followers.close)
    followers.start(Task(parts.name, content, meeting))
    _wait(followers, store, options.learners)
    group = Group(meeting, store, 0, parts.env.num_envs)
    loop = LearnersLoop(parts, group, followers)
    stack.callback(loop.close)
    return loop, loop.start(_states(parts, state))


def _here(parts: Parts, stack: ExitStack) -> tuple[Meeting, Store]:
    """A meeting on this machine, in a folder that only this user reads."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gymnast-"))
    learners, file = parts.options.learners, str(Path(folder) / "meeting")
    meeting = Meeting(learners, backend(str(parts.env.device), learners=learners), file=file)
    return meeting, meeting.store()


def _on_ray(address: str, parts: Parts, stack: ExitStack) -> tuple[Followers, Meeting, Store]:
    """Actors of a cluster, and a meeting at this node's address, unless all of the cluster is this machine."""
    from gymnast.training.learner_actors import Actors
    from gymnast.training.ray_connection import RayConnection

    connection = stack.enter_context(RayConnection(address))
    gpu, learners = parts.env.device.type == "cuda", parts.options.learners
    actors = Actors(connection, count=learners - 1, gpu=gpu)
    if address == "local":
        return actors, *_here(parts, stack)
    host: str = connection.ray.util.get_node_ip_address()
    store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    chosen = backend(str(parts.env.device), learners=1)  # Ray gives each actor a GPU of its own
    return actors, Meeting(learners, chosen, host=host, port=store.port), store


def _wait(followers: Followers, store: Store, learners: int) -> None:
    """Wait until all have built everything; ValueError says why one cannot."""
    over = time.monotonic() + START_TIMEOUT
    keys = [said_ready(number) for number in range(1, learners)]
    while not store.check(keys):
        if (cause := followers.cause()) is not None:
            raise ValueError(cause)
        if time.monotonic() > over:
            raise ValueError(f"the other learners did not start within {START_TIMEOUT:g} s")
        time.sleep(POLL)


def _states(parts: Parts, state: RunState | None) -> list[LearnerState]:
    """What the other learners begin with or continue from."""
    agent = parts.agent.state_dict()
    if state is None:
        fresh = {name: part for name, part in agent.items() if name != "replay"}
        return [LearnerState(fresh, {}, None, None, 0) for _ in range(1, parts.options.learners)]
    common = {name: agent[name] for name in COMMON}
    kept = [LearnerState(**learner) for learner in state.learners]
    return [LearnerState(common | one.agent, one.actor, one.env, one.lasting, one.env_step) for one in kept]


class Processes:
    """Learners as spawned processes of this machine."""

    def __init__(self) -> None:
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []

    def start(self, task: Task) -> None:
        """Spawned, not forked: a fork would copy locks that torch's threads hold, and an initialised CUDA context."""
        context = torch_multiprocessing.get_context("spawn")
        for number in range(1, task.meeting.count):
            ours, theirs = context.Pipe()
            # Not a daemon: environments in worker processes are its own children.
            process = context.Process(target=_process, args=(task, number, theirs), name=f"learner {number}")
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)

    def cause(self, *, wait: float = 0.0) -> str | None:
        over = time.monotonic() + wait
        while True:
            for process, connection in zip(self._processes, self._connections, strict=True):
                if (cause := _cause(process, connection)) is not None:
                    return cause
            if time.monotonic() >= over:
                return None
            time.sleep(POLL)

    def close(self) -> None:
        end(self._processes, patience=CLOSE_TIMEOUT)
        for connection in self._connections:
            connection.close()
        self._processes, self._connections = [], []


def _cause(process: BaseProcess, connection: Connection) -> str | None:
    """Why a learner has ended, if it has for a reason of its own."""
    said = f"{process.name} (pid {process.pid})"
    try:
        if connection.poll():
            return f"{said}: {connection.recv()}"
    except (EOFError, ConnectionResetError):
        process.join(1.0)
    return f"{said} {exit_cause(process)}" if process.exitcode else None


def _process(task: Task, number: int, connection: Connection) -> None:
    """Be a learner in a process of this machine. Learner 0 stops the others, at the end of a rollout."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    cause = work(task, number)
    if cause is not None:
        with suppress(BrokenPipeError, ConnectionResetError):  # learner 0 has ended
            connection.send(cause)
