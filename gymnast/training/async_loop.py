"""Asynchronous training (A3C, Mnih et al. 2016): spawned processes run the loop, each with its own environments.

It has the interface of `loop.Loop`, so that logs, evaluations and checkpoints are the same. They happen while all
workers are idle, so none sees half-written weights; in between nothing is reproducible bit for bit: the operating
system decides which worker's update comes first, and two that write the same weight at once may lose one of the writes.
The environments' states are not kept: a resumed run continues with new episodes.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from torch import Tensor
from torch import multiprocessing as torch_multiprocessing

from gymnast.agents.policy.hogwild import Shared, SharingAgent
from gymnast.envs.rows.processes import WorkerError
from gymnast.envs.rows.spawned import end, exit_cause
from gymnast.training.async_worker import CLAIMED, DONE, LIMIT, UPDATES, Task, pickled, work
from gymnast.training.loop import PULSE, Loop
from gymnast.training.parts import Parts

START_TIMEOUT = 300.0
"""Seconds that workers get to import everything and to take their first steps."""
REST_TIMEOUT = 60.0
"""Seconds that workers get to finish their current rollouts."""
CLOSE_TIMEOUT = 5.0
"""Seconds that workers get to close their environments before they are killed."""


class AsyncLoop(Loop):
    """A loop whose steps are taken by worker processes; env steps are counted over all of them."""

    @property
    def exact_resume(self) -> bool:
        return False

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.agent, parts.actor, parts.env)
        self.compiled = False
        self._parts = parts
        self._pickled = pickled(type(parts.agent), parts.options, parts.config, parts.env_like)
        self._counts: Tensor = torch.zeros(4, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        self._seconds: list[dict[str, float]] = []

    def _advance(self, until: int, pulse: Callable[[], bool]) -> None:
        if not self._processes:
            self._start()
        self._limit(until)
        stopped = False
        while not stopped and self._counts[DONE] < until:
            self._listen(PULSE)
            self._see()
            stopped = pulse()
        self._limit(0)
        rested = time.monotonic() + REST_TIMEOUT
        while self._counts[DONE] < self._counts[CLAIMED]:
            self._listen(0.01)
            if time.monotonic() > rested:
                raise WorkerError(f"a worker of {self._parts.name} did not finish its rollout in {REST_TIMEOUT:g} s")
        self._listen(0.0)
        self._see()

    def _start(self) -> None:
        """Spawned, not forked: a fork would copy locks that torch's threads hold, and an initialised CUDA context."""
        parts, agent = self._parts, self._parts.agent
        assert isinstance(agent, SharingAgent)  # like every agent whose config has workers
        shared = Shared.of(agent.weights, parts.config.optimizer, agent.optimizer)
        self._counts[CLAIMED] = self._counts[DONE] = self.env_step
        self._counts[UPDATES] = agent.updates
        context = torch_multiprocessing.get_context("spawn")
        self._lock = context.Lock()
        seeds = np.random.SeedSequence([parts.options.seed, self.env_step]).spawn(parts.config.workers)
        self._seconds = [{} for _ in seeds]
        for number, seed in enumerate(seeds):
            ours, theirs = multiprocessing.Pipe()
            task = Task(parts.name, self._pickled, seed, shared, self._counts)
            process = context.Process(target=work, args=(task, self._lock, theirs), daemon=True)
            process.name = f"{parts.name} worker {number}"
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)

    def _limit(self, steps: int) -> None:
        """Set how many steps may be taken; once this returns, no worker takes more under an older limit."""
        if not self._lock.acquire(timeout=CLOSE_TIMEOUT):
            self._listen(0.0)
            raise WorkerError(f"a worker of {self._parts.name} stopped while it counted steps")
        self._counts[LIMIT] = steps
        self._lock.release()

    def _listen(self, timeout: float) -> None:
        """Read the workers' messages; WorkerError for one that died."""
        sentinels = [process.sentinel for process in self._processes]
        ready = wait([*self._connections, *sentinels], timeout)
        for number, (process, connection) in enumerate(zip(self._processes, self._connections, strict=True)):
            cause = self._hear(number, connection) if connection in ready else None
            if cause is not None or process.sentinel in ready:
                process.join(1.0)
                raise WorkerError(f"{process.name} (pid {process.pid}) {cause or exit_cause(process)}")

    def _hear(self, number: int, connection: Connection) -> str | None:
        """Read one worker's messages; returns why it stopped, if it says so."""
        try:
            while connection.poll():
                message = connection.recv()
                if "error" in message:
                    return f"stopped by {message['error']}"
                self.episodes.count += message["skipped"]
                for episode_return, length in message["episodes"]:
                    self.episodes.add(episode_return, length, env_step=self.env_step)
                self.metrics = message["metrics"] or self.metrics
                self._seconds[number] = message["seconds"]
        except (EOFError, ConnectionResetError):
            return None  # the process reports its end
        return None

    def _see(self) -> None:
        """Counts and seconds of all workers; the seconds are the mean worker's."""
        self.env_step = self.agent.env_step = int(self._counts[DONE])
        self.agent.updates = int(self._counts[UPDATES])
        for name in vars(self.seconds):
            told = [seconds[name] for seconds in self._seconds if seconds]
            setattr(self.seconds, name, max(getattr(self.seconds, name), sum(told) / max(len(told), 1)))

    def close(self) -> None:
        """End all workers."""
        for connection in self._connections:
            try:
                connection.send("over")
            except OSError:
                continue  # already gone
        end(self._processes, patience=CLOSE_TIMEOUT)
        for connection in self._connections:
            connection.close()
        self._processes, self._connections = [], []
