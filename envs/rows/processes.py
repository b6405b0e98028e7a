"""N environments in worker processes, for environments that cost more than inter-process communication."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs import goals
from gymnast.envs.errors import EnvError
from gymnast.envs.rows import process as worker
from gymnast.envs.rows.base import RowsEnv, row_seeds
from gymnast.envs.rows.row import Begun, Restored
from gymnast.envs.rows.spawned import end, exit_cause, leave_if_imported
from gymnast.envs.step import GoalRewards, Step

ANSWER_TIMEOUT = 120.0
"""Seconds after which a live worker that does not answer counts as hung."""
START_TIMEOUT = 300.0
"""Seconds that a worker gets to import everything and build its environments."""
CLOSE_TIMEOUT = 5.0
"""Seconds that workers get to close their environments before they are killed."""


class WorkerError(EnvError):
    """A worker process died, hung or raised; the message names the environment and the cause."""


class WorkerTraceback(Exception):  # noqa: N818 - shown as the cause of a WorkerError, never raised
    """The place in the worker where it happened."""


class WorkersEnv(RowsEnv):
    """Single environments in spawned processes, each of which steps an equal share of the rows."""

    overlaps = True

    def __init__(
        self,
        id: str,
        build: Callable[[], gym.Env[Any, Any]],
        num_envs: int,
        *,
        seed: np.random.SeedSequence,
        device: torch.device,
        first_row: int = 0,
        timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self.id = id
        self._build, self._timeout = build, timeout
        self._twin: gym.Env[Any, Any] | None = None
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        shares = np.array_split(np.arange(num_envs), min(num_envs, _cores()))
        self._shares = [range(int(share[0]), int(share[-1]) + 1) for share in shares]
        self._start(cloudpickle.dumps(build), row_seeds(seed, num_envs, first_row))
        try:
            answers = [self._receive(index, timeout=START_TIMEOUT) for index in range(len(self._shares))]
        except WorkerError as error:
            raise ValueError(str(error)) from error.__cause__  # nothing has started yet
        about = answers[0]
        super().__init__(
            id,
            num_envs,
            observation_space=about["observation_space"],
            action_space=about["action_space"],
            method=about["method"],
            device=device,
        )
        self.render_fps = float(about["render_fps"] or 30.0)
        self._renders = about["render_mode"] == "rgb_array"
        self._running: Sequence[tuple[float, int]] = ()
        self._sent = False

    def _start(self, pickled: bytes, seeds: list[np.random.SeedSequence]) -> None:
        leave_if_imported()
        context = multiprocessing.get_context("spawn")  # fork would copy locks that other threads of torch hold
        for index, share in enumerate(self._shares):
            ours, theirs = context.Pipe()
            numbers = list(share) if len(seeds) > 1 else [None]
            arguments = (theirs, self.id, pickled, [seeds[row] for row in share], numbers)
            process = context.Process(target=worker.serve, args=arguments, name=f"{self.id} {index}", daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)

    def _send(self, index: int, command: str, argument: Any) -> None:
        if not self._connections:
            raise WorkerError(f"{self.id} is closed")
        try:
            self._connections[index].send((command, argument))
        except (BrokenPipeError, ConnectionResetError):
            self._receive(index)  # the worker's last message before it ended
            self._fail(index, "closed its connection")

    def _receive(self, index: int, *, timeout: float | None = None) -> Any:
        """The worker's answer; WorkerError if none comes in time."""
        timeout = timeout or self._timeout
        connection, process = self._connections[index], self._processes[index]
        if not wait([connection, process.sentinel], timeout):
            self._fail(index, f"gave no answer for {timeout:g} s")
        try:
            if not connection.poll(0):
                raise EOFError  # it died without a message
            succeeded, answer = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join(1.0)
            self._fail(index, exit_cause(process))
        if not succeeded:
            self._fail(index, *answer)
        return answer

    def _fail(self, index: int, cause: str, traceback: str | None = None) -> NoReturn:
        rows = self._shares[index]
        self._stop(wait_seconds=0.0)
        where = f"row {rows[0]}" if len(rows) == 1 else f"rows {rows[0]}-{rows[-1]}"
        there = WorkerTraceback(f"\n{traceback}") if traceback else None
        raise WorkerError(f"the worker process of {self.id} ({where}) {cause}") from there

    def _answers(self, *, timeout: float | None = None) -> list[Any]:
        """The answers of all workers, one list over all rows."""
        return [item for index in range(len(self._connections)) for item in self._receive(index, timeout=timeout)]

    def _all_answer(self, command: str, arguments: list[Any]) -> list[Any]:
        """Give every worker a command, then collect the answers."""
        for index, argument in enumerate(arguments):
            self._send(index, command, argument)
        return self._answers()

    def _split(self, values: list[Any]) -> list[list[Any]]:
        return [values[share.start : share.stop] for share in self._shares]

    def step(self, action: Tensor) -> Step:
        self.send(action)
        return self.receive()

    def send(self, action: Tensor) -> None:
        if self._sent:
            raise RuntimeError(f"{self.id}: send was called twice without receive")
        for index, actions in enumerate(self._split(self._actions(action))):
            self._send(index, "step", actions)
        self._sent = True

    def receive(self) -> Step:
        if not self._sent:
            raise RuntimeError(f"{self.id}: receive was called without send")
        self._sent = False
        stepped, self._running = zip(*self._answers(), strict=True)
        return self._step(list(stepped))

    def _totals(self, rows: list[int]) -> list[tuple[float, int]]:
        return [self._running[row] for row in rows]

    def _reset_rows(self, seeds: dict[int, int | None], *, reseed: bool) -> list[Begun]:
        asked = []
        for index, share in enumerate(self._shares):
            own = {row - share.start: seed for row, seed in seeds.items() if row in share}
            if own:
                self._send(index, "reset", (own, reseed))
                asked.append(index)
        return [begun for index in asked for begun in self._receive(index)]

    def _lengths(self) -> list[int]:
        return [length for _, length in self._running] if self._running else [0] * self.num_envs

    def _extra_names(self) -> tuple[str, ...]:
        self._send(0, "extras", None)
        return tuple(self._receive(0))

    def _snapshot_rows(self) -> list[dict[str, Any]]:
        return self._all_answer("snapshot", [None] * len(self._shares))

    def _restore_rows(self, states: list[dict[str, Any]]) -> list[Restored]:
        return self._all_answer("restore", self._split(states))

    def _lasting_rows(self) -> list[dict[str, Any]]:
        return self._all_answer("lasting", [None] * len(self._shares))

    def _put_lasting_rows(self, states: list[dict[str, Any]]) -> None:
        self._all_answer("put_lasting", self._split(states))

    def impose_limit(self, limit: int | None) -> bool:
        return any(self._all_answer("impose_limit", [limit] * len(self._shares)))

    def goal_rewards(self) -> GoalRewards | None:
        """Those of one more environment, in this process."""
        if not goals.has_goals(self.single_observation_space):
            return None
        self._twin = self._twin or self._build()
        return goals.goal_rewards(self._twin, self.single_observation_space, id=self.id, device=self.device)

    def _frame(self, row: int) -> np.ndarray:
        index = next(index for index, share in enumerate(self._shares) if row in share)
        self._send(index, "render", row - self._shares[index].start)
        frame: np.ndarray = self._receive(index)
        return frame

    def close(self) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None
        if self._sent:  # an unread answer would keep its worker from ending
            self._sent = False
            with suppress(WorkerError):
                self._answers(timeout=CLOSE_TIMEOUT)
        for connection in self._connections:
            try:
                connection.send(("close", None))
            except (BrokenPipeError, ConnectionResetError):
                continue  # it is gone already, as requested
        self._stop(wait_seconds=CLOSE_TIMEOUT)

    def _stop(self, *, wait_seconds: float) -> None:
        """End all workers."""
        end(self._processes, patience=wait_seconds)
        for process in self._processes:
            process.close()
        for connection in self._connections:
            connection.close()
        self._processes, self._connections = [], []


def _cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
