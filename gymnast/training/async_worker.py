"""One process of an asynchronous run: its own environments and rollouts, and weights that all processes share."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.policy.hogwild import Shared
from gymnast.envs.errors import EnvError
from gymnast.errors import first_line
from gymnast.machine import limit_threads
from gymnast.settings import agents
from gymnast.training.environments import make_env
from gymnast.training.loop import PULSE, Loop

CLAIMED, DONE, LIMIT, UPDATES = range(4)
"""Entries of `counts`, over all workers: env steps claimed (taken or not yet), taken, and allowed; and updates."""
REST = 0.002
"""Seconds between two checks for more steps to take."""


@dataclass(frozen=True)
class Task:
    """The task of a worker."""

    agent: str
    pickled: bytes
    """Class of the agent, options, config and environment, by cloudpickle."""
    seed: np.random.SeedSequence
    shared: Shared
    counts: Tensor
    """int64 [4], in shared memory."""


def work(task: Task, lock: Any, connection: Connection) -> None:
    """Take steps while any remain and the parent is alive; send logs to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers between two rollouts
    limit_threads(1)
    try:
        _work(task, lock, connection)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        os._exit(1)  # the parent is gone
    except EnvError as error:  # the parent reports it in one line
        connection.send({"error": str(error)})
        sys.exit(1)
    except Exception as error:
        connection.send({"error": f"{type(error).__name__}: {first_line(error)}"})
        raise


def _work(task: Task, lock: Any, connection: Connection) -> None:
    cls, options, config, env_like = pickle.loads(task.pickled)  # noqa: S301 - from our own parent
    agents.import_backbone(config)
    env_seed, agent_seed, actor_seed, torch_seed = task.seed.spawn(4)
    torch.manual_seed(int(torch_seed.generate_state(1)[0]))
    env = make_env(options, env_like, seed=env_seed, device="cpu")
    spaces = (env.single_observation_space, env.single_action_space)
    alone = dataclasses.replace(config, workers=0)
    agent = cls(*spaces, alone, num_envs=options.rows, device="cpu", seed=agent_seed)
    agent.follow(task.shared)
    loop = Loop(agent, agent.actor(options.rows, explore=True, seed=actor_seed), env)
    env.reset()
    counts, most = task.counts, config.rollout_steps * options.rows
    reporter = _Reporter(loop, connection)
    while (steps := _claim(counts, lock, most, reporter)) > 0:
        agent.env_step, before, updates = int(counts[DONE]), loop.env_step, agent.updates
        agent.follower.pull()
        loop.advance(before + steps, lambda: False)
        with lock:
            counts[DONE] += loop.env_step - before
            counts[CLAIMED] += loop.env_step - before - steps  # a step of several rows may exceed the limit
            counts[UPDATES] += agent.updates - updates
        reporter.send_if_due()
    env.close()


def _claim(counts: Tensor, lock: Any, most: int, reporter: _Reporter) -> int:
    """Steps that this worker takes next; 0 once the parent has closed the connection."""
    while True:
        with lock:
            steps = min(most, int(counts[LIMIT] - counts[CLAIMED]))
            if steps > 0:
                counts[CLAIMED] += steps
                return steps
        reporter.send_if_due()
        if reporter.connection.poll():
            return 0  # the parent's only message is the end
        time.sleep(REST)


class _Reporter:
    """Reports to the parent periodically."""

    def __init__(self, loop: Loop, connection: Connection) -> None:
        self.loop, self.connection = loop, connection
        self._sent_at = 0.0
        self._count = 0

    def send_if_due(self) -> None:
        """Send episodes, the last metrics and timings; nothing if nothing is new or it is too soon."""
        loop, now = self.loop, time.perf_counter()
        if now - self._sent_at < PULSE:
            return
        self._sent_at = now
        new = min(loop.episodes.count - self._count, len(loop.episodes.returns))
        ended = list(zip(loop.episodes.returns, loop.episodes.lengths, strict=True))[len(loop.episodes.returns) - new :]
        skipped = loop.episodes.count - self._count - new
        self._count = loop.episodes.count
        metrics = {name: float(value) for name, value in loop.metrics.items()}
        seconds = dataclasses.asdict(loop.seconds)
        self.connection.send({"episodes": ended, "skipped": skipped, "metrics": metrics, "seconds": seconds})


def pickled(cls: type[Any], options: Any, config: Any, env_like: Any, *, of: str = "workers") -> bytes:
    """The content of `Task.pickled`; ValueError, which names `of`, if the environment cannot be sent to a process."""
    try:
        return cloudpickle.dumps((cls, options, config, env_like))  # type: ignore[no-any-return]
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ValueError(f"{of}: the environment cannot be sent to another process ({first_line(error)})") from None
