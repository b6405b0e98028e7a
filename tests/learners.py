"""Learners in threads of one process, beside one learner with all their rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast import envs
from gymnast.agents.optim.together import Together

WAIT = 60.0
"""Seconds after which a test fails because a thread does not come."""


class Threads(Together):
    """One of several learners in threads, which lay what they exchange on one table."""

    def __init__(self, number: int, count: int, num_envs: int, table: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(number, count, num_envs)
        self.table, self.barrier = table, barrier

    def gather(self, values: Tensor) -> Tensor:
        self.table[self.number] = values.clone()
        self.barrier.wait(WAIT)
        found = torch.stack(list(self.table))
        self.barrier.wait(WAIT)
        return found

    def add(self, values: Tensor) -> None:
        values.copy_(self.gather(values).sum(0))


def play(cls: Any, config: Any, env: Any, *, rollouts: int, together: Together | None) -> tuple[Any, list[Any]]:
    """An agent that has learned from so many rollouts, and the metrics of each."""
    torch.manual_seed(0)
    spaces = env.single_observation_space, env.single_action_space
    agent = cls(*spaces, config, num_envs=env.num_envs, seed=1)
    actor = agent.actor(env.num_envs, explore=True, seed=np.random.SeedSequence(2))
    if together is not None:
        agent.join(together)
        actor.rows = together.rows
    env.reset()
    obs, start, mask = env.obs, env.start, env.action_mask
    found = []
    while len(found) < rollouts:
        acted = actor.act(obs, start, mask)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        for _ in range(agent.updates_due(agent.env_step)):
            found.append({name: float(value) for name, value in agent.learn().items()})
        obs, start, mask = step.obs, step.start, step.action_mask
    return agent, found


def both(
    cls: Any,
    config: Any,
    id: str,
    *,
    rows: int,
    learners: int,
    rollouts: int = 3,
    change: Callable[[Any], Any] | None = None,
) -> tuple[list[Any], list[list[Any]]]:
    """One agent with all rows, and then as many with their shares; and the metrics of each."""

    def make(count: int, first: int) -> Any:
        env = envs.make(id, count, seed=3, first_row=first)
        return env if change is None else change(env)

    results: list[Any] = [play(cls, config, make(rows, 0), rollouts=rollouts, together=None)]
    table, barrier = [None] * learners, threading.Barrier(learners)
    results += [None] * learners
    share = rows // learners

    def run(number: int) -> None:
        try:
            together = Threads(number, learners, share, table, barrier)
            env = make(share, number * share)
            results[number + 1] = play(cls, config, env, rollouts=rollouts, together=together)
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=run, args=(number,)) for number in range(learners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [agent for agent, _ in results], [found for _, found in results]
