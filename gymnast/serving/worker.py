"""One thread in which all forward passes of a policy run, and in which requests that wait are stacked into one."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

import numpy as np

from gymnast.machine import limit_threads
from gymnast.serving.form import rows_at, stacked
from gymnast.serving.refused import Refused
from gymnast.serving.served import Policy, Served
from gymnast.serving.sessions import Ask, Sessions

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Job:
    """Observations that wait for actions, or a function that waits for the thread."""

    future: asyncio.Future[Any]
    rows: int
    obs: Any = None
    mask: np.ndarray | None = None
    deterministic: bool = True
    call: Callable[[], Any] | None = None
    ask: Ask | None = None
    """Observations of a session, instead of `obs`."""


@dataclass(frozen=True)
class Limits:
    """How much a worker takes on."""

    max_batch: int = 64
    """Observations of a forward pass."""
    max_wait: float = 0.0
    """Seconds that a forward pass waits for more of them."""
    max_queue: int = 1_024
    """Observations that wait or are worked on."""


@dataclass
class Outcome:
    """What became of jobs that were worked on together."""

    jobs: list[Job]
    results: list[Any] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    """Observations of each forward pass."""


class Worker:
    """Answers jobs in their order. Started at once; `close` waits until it is idle. Its methods belong to one loop."""

    def __init__(
        self,
        policy: Policy,
        limits: Limits,
        *,
        sessions: Sessions,
        seed: int,
        threads: int,
        on_batch: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.policy, self.limits, self.sessions, self.on_batch = policy, limits, sessions, on_batch
        self.waiting = 0
        """Observations that wait or are worked on."""
        self._streams: dict[bool, Served] = {}
        self._seed, self._threads = seed, threads
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="gymnast-policy", daemon=True)
        self._thread.start()

    async def act(self, obs: Any, rows: int, mask: np.ndarray | None, *, deterministic: bool) -> Any:
        """Actions [N, ...] for observations [N, ...] that each begin an episode; Refused if too many wait."""
        job = Job(asyncio.get_running_loop().create_future(), rows, obs, mask, deterministic)
        return await self._put(job)

    async def ask(self, ask: Ask) -> Any:
        """Actions [N, ...] for the next observations of a session; Refused if too many wait, or as `Sessions` does."""
        return await self._put(Job(asyncio.get_running_loop().create_future(), ask.rows or 1, ask=ask))

    async def call(self, function: Callable[[], T], *, rows: int = 1) -> T:
        """The result of a function that runs in the thread, between two forward passes."""
        return cast(T, await self._put(Job(asyncio.get_running_loop().create_future(), rows, call=function)))

    def _put(self, job: Job) -> asyncio.Future[Any]:
        most = self.limits.max_queue
        if job.rows > most:
            raise Refused(413, f"a request may hold {most:,} observations, got {job.rows:,}")
        if self.waiting + job.rows > most:
            raise Refused(503, "too many observations wait; try again", headers={"retry-after": "1"})
        self.waiting += job.rows
        self._queue.put(job)
        return job.future

    def close(self) -> None:
        """Answer everything that waits, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        limit_threads(self._threads)
        kept: Job | None = None
        while True:
            job = kept or self._queue.get()
            if job is None:
                return
            jobs, kept, ended = [job], None, False
            if job.call is None:
                kept, ended = self._gather(jobs)
            outcome = self._called(job) if job.call is not None else self._asked(jobs) if job.ask else self._acted(jobs)
            job.future.get_loop().call_soon_threadsafe(self._deliver, outcome)
            if ended:
                return

    def _gather(self, jobs: list[Job]) -> tuple[Job | None, bool]:
        """Add the jobs that wait, up to a batch; returns the first that does not fit, and whether the end was asked."""
        rows, until = jobs[0].rows, time.monotonic() + self.limits.max_wait
        while rows < self.limits.max_batch:
            try:
                left = until - time.monotonic() if self.limits.max_wait else 0.0
                job = self._queue.get(timeout=left) if left > 0.0 else self._queue.get_nowait()
            except Empty:
                break
            if job is None:
                return None, True
            alike = job.call is None and (job.ask is None) == (jobs[0].ask is None)
            if not alike or rows + job.rows > self.limits.max_batch:
                return job, False
            jobs.append(job)
            rows += job.rows
        return None, False

    def _called(self, job: Job) -> Outcome:
        assert job.call is not None
        try:
            return Outcome([job], [job.call()], [])
        except Exception as error:
            return Outcome([job], [_as_answer(error)], [])

    def _asked(self, jobs: list[Job]) -> Outcome:
        batches: list[int] = []
        results = self.sessions.act_many([job.ask for job in jobs if job.ask is not None], batches)
        return Outcome(jobs, [_as_answer(one) if isinstance(one, Exception) else one for one in results], batches)

    def _acted(self, jobs: list[Job]) -> Outcome:
        done = Outcome([])
        for deterministic in (True, False):
            if group := [job for job in jobs if job.deterministic == deterministic]:
                self._acted_alike(group, done)
        return done

    def _acted_alike(self, jobs: list[Job], done: Outcome) -> None:
        """Answer jobs of one kind; if one of them makes the batch fail, each for itself."""
        try:
            results = self._forward(jobs, done.batches)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._acted_alike([job], done)
                return
            results = [_as_answer(error)]
        done.jobs += jobs
        done.results += results

    def _forward(self, jobs: Sequence[Job], batches: list[int]) -> list[Any]:
        obs, masks = stacked([job.obs for job in jobs]), _masks(jobs)
        rows, most = sum(job.rows for job in jobs), self.limits.max_batch
        stream, parts = self._stream(jobs[0].deterministic), []
        for start in range(0, rows, most):
            piece = slice(start, min(start + most, rows))
            batches.append(piece.stop - start)
            mask = None if masks is None else masks[piece]
            parts.append(stream.predict(rows_at(obs, piece) if rows > most else obs, start=True, action_mask=mask))
        actions, at, results = stacked(parts), 0, []
        for job in jobs:
            results.append(rows_at(actions, slice(at, at + job.rows)))
            at += job.rows
        return results

    def _stream(self, deterministic: bool) -> Served:
        if deterministic not in self._streams:
            self._streams[deterministic] = self.policy.stream(deterministic, self._seed)
        return self._streams[deterministic]

    def _deliver(self, outcome: Outcome) -> None:
        for rows in outcome.batches:
            self.on_batch(rows)
        for job, result in zip(outcome.jobs, outcome.results, strict=True):
            self.waiting -= job.rows
            if job.future.done():  # whoever asked is gone
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)


def _masks(jobs: Sequence[Job]) -> np.ndarray | None:
    """The masks of all observations, bool [N, A], with everything allowed where a request has none."""
    size = next((job.mask.shape[1] for job in jobs if job.mask is not None), None)
    if size is None:
        return None
    return np.concatenate([np.ones((job.rows, size), np.bool_) if job.mask is None else job.mask for job in jobs])


def _as_answer(error: Exception) -> Exception:
    """A policy refuses an observation with a ValueError; anything else is a fault here, which the log shows."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ValueError):
        return Refused(400, " ".join(str(error).split()))
    traceback.print_exception(error, file=sys.stderr)
    return Refused(500, f"the policy failed with {type(error).__name__}")
