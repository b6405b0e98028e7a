"""A policy search whose candidates are played by workers: the same run for any number of them, wherever they are.

Episodes come in any order and count in that of their numbers, so that logs, evaluations and checkpoints do not depend
on who was faster. Nothing of a lost worker is missing but time: another one plays its episodes.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

from gymnast.agents.search.policy_search import PolicySearch
from gymnast.envs.errors import EnvWarning
from gymnast.envs.rows.processes import WorkerError
from gymnast.training.crew import Crew, Lost
from gymnast.training.loop import PULSE, Loop
from gymnast.training.parts import Parts
from gymnast.training.search_worker import Play, Played, Round, SearchWorkerMaker, digest

KEPT = 16
"""Ended rounds that are kept for workers which missed them; older ones need the whole state."""


class SearchLoop(Loop):
    """A loop whose episodes are played by workers."""

    def __init__(self, parts: Parts, crew: Crew) -> None:
        assert isinstance(parts.agent, PolicySearch)
        super().__init__(parts.agent, parts.actor, parts.env)
        self.compiled, self._rollout = False, None
        self.agent: PolicySearch = parts.agent
        self._parts, self._crew = parts, crew
        self._knows: list[int | None] = []
        """By worker: after how many updates its agent is; None if it needs the whole state."""
        self._answered: set[int] = set()
        self._whole: set[int] = set()  # workers whose last request came with the whole state
        self._playing: dict[int, list[int]] = {}  # numbers of episodes by worker
        self._played: dict[int, Played] = {}  # episodes of this round that do not count yet
        self._ended: dict[int, Round] = {}  # rounds by the updates before them
        self._state: tuple[int, Any] | None = None

    def _advance(self, until: int, pulse: Callable[[], bool]) -> None:
        if not self._knows:
            self._start()
        pulsed = perf_counter()
        while self._count(until):
            self._ask()
            waited = perf_counter()
            for number, answer in self._crew.answers(PULSE):
                self._hear(number, answer)
            self.seconds.env += perf_counter() - waited
            if perf_counter() - pulsed >= PULSE:
                if pulse():
                    return
                pulsed = perf_counter()

    def _start(self) -> None:
        if not self.agent.trials.candidates:
            self.agent.propose()
        self._knows = [None] * self._parts.config.workers
        for number in range(len(self._knows)):
            self._employ(number)

    def _employ(self, number: int) -> None:
        parts = self._parts
        self._crew.start(number, SearchWorkerMaker(type(parts.agent), parts.config, parts.options, parts.env_like))

    def _count(self, until: int) -> bool:
        """Let the played episodes count, in order, and learn at the end of a round; whether more are needed."""
        agent = self.agent
        while self.env_step < until and agent.trials.ended in self._played:
            played = self._played.pop(agent.trials.ended)
            agent.played(played.episode_return, played.length)
            self.env_step = agent.env_step
            self.episodes.add(played.episode_return, played.length, env_step=self.env_step)
            if agent.updates_due(self.env_step):
                self._learn_round()
        return self.env_step < until

    def _learn_round(self) -> None:
        agent, began = self.agent, perf_counter()
        self._ended[agent.updates] = Round(agent.env_step, list(agent.trials.returns))
        self._ended.pop(agent.updates - KEPT, None)
        self.metrics = agent.learn()
        self.seconds.learn += perf_counter() - began

    def _ask(self) -> None:
        """Ask idle workers for the next episodes of this round that nobody plays or has played."""
        trials = self.agent.trials
        taken = {number for numbers in self._playing.values() for number in numbers} | self._played.keys()
        left = [number for number in range(trials.ended, len(trials.returns)) if number not in taken]
        for worker in range(len(self._knows)):
            if left and worker not in self._playing:
                numbers, left = left[: self._parts.options.rows], left[self._parts.options.rows :]
                self._playing[worker] = numbers
                self._crew.ask(worker, *self._request(worker, numbers))

    def _request(self, worker: int, numbers: list[int]) -> tuple[Play, Any]:
        """The episodes with what the worker does not know yet: the rounds since its last one, or everything."""
        updates, known = self.agent.updates, self._knows[worker]
        missing = range(updates if known is None else known, updates)
        self._knows[worker] = updates
        if known is not None and all(round in self._ended for round in missing):
            self._whole.discard(worker)
            return Play(updates, numbers, [self._ended[round] for round in missing]), None
        self._whole.add(worker)
        if self._state is None or self._state[0] != updates:
            self._state = updates, self._crew.publish(pickle.dumps(self.agent.state_dict()))
        return Play(updates, numbers, []), self._state[1]

    def _hear(self, worker: int, answer: list[Played] | Lost) -> None:
        numbers = self._playing.pop(worker)
        if isinstance(answer, Lost):
            if worker not in self._answered:
                raise WorkerError(answer.cause)  # before its first answer: the next one would fare the same
            warnings.warn(f"{answer.cause}: replaced; its episodes are played again", EnvWarning, stacklevel=2)
            self._answered.discard(worker)
            self._knows[worker] = None
            self._employ(worker)
            return
        self._answered.add(worker)
        if any(played.digest != digest(self.agent.candidate_of(played.number)) for played in answer):
            self._differ(worker)
            return
        assert [played.number for played in answer] == numbers
        self._played |= {played.number: played for played in answer}

    def _differ(self, worker: int) -> None:
        """A worker whose arithmetic rounds differently gets the whole state; its episodes are played again."""
        if worker in self._whole:
            raise WorkerError(f"worker {worker} makes other candidates from the same state")
        self._knows[worker] = None

    def close(self) -> None:
        """End all workers."""
        self._crew.close()
        self._knows, self._playing = [], {}
