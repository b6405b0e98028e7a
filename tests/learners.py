"""Learners in threads of one process, beside one learner with all their rows."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast import envs
from gymnast.agents.optim.together import Together

WAIT = 60.0
"""Seconds after which a test fails because another thread does not come."""


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
    spaces = env.single_observation_space, env.single_action_space
    agent = cls(*spaces, config, num_envs=env.num_envs, seed=1)
    actor = agent.actor(env.num_envs, explore=True, seed=np.random.SeedSequence(2))
    if together is not None:
        agent.join(together)
        actor.rows = together.rows
    env.reset()
    obs, start, mask = env.obs, env.start, env.action_mask
    found: list[Any] = []
    while len(found) < rollouts:
        acted = actor.act(obs, start, mask)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        for _ in range(agent.updates_due(agent.env_step)):
            found.append({name: float(value) for name, value in agent.learn().items()})
        obs, start, mask = step.obs, step.start, step.action_mask
    return agent, found


def at_once(count: int, run: Any) -> list[Any]:
    """The results of `run(number, table, barrier)` in as many threads, in the order of their numbers."""
    results: list[Any] = [None] * count
    table, barrier = [None] * count, threading.Barrier(count)

    def one(number: int) -> None:
        try:
            results[number] = run(number, table, barrier)
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def alone_and_together(
    cls: Any, config: Any, id: str, *, rows: int = 4, learners: int = 2, rollouts: int = 3
) -> tuple[tuple[Any, list[Any]], list[tuple[Any, list[Any]]]]:
    """`play` of one agent with all rows, and of as many agents as learners with their shares."""
    share = rows // learners

    def learner(number: int, table: list[Any], barrier: threading.Barrier) -> tuple[Any, list[Any]]:
        env = envs.make(id, share, seed=3, first_row=number * share)
        together = Threads(number, learners, share, table, barrier)
        return play(cls, config, env, rollouts=rollouts, together=together)

    alone = play(cls, config, envs.make(id, rows, seed=3), rollouts=rollouts, together=None)
    return alone, at_once(learners, learner)
