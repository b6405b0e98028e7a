"""Ape-X (Horgan et al. 2018): this process learns, actors in processes of their own bring the experience.

It has the interface of `loop.Loop`, so that logs, evaluations and checkpoints are the same; they happen while no actor
has a request. An actor is asked for some steps at a time, and for the next ones before this process learns from the
last: both work at once, neither is ahead of the other by more than one answer, and as many updates are made per env
step as the agent's settings say. Which actor's steps come first is up to the operating system, so a run cannot be
repeated bit for bit. Actors are not kept: a resumed run continues with the agent and its replay, and with new episodes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.value.actors import exploration
from gymnast.agents.value.dqn import DQN
from gymnast.envs.errors import EnvWarning
from gymnast.envs.rows.processes import WorkerError
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.ring import Ring
from gymnast.training.ape_x_actor import ApeXActorMaker, weights_of
from gymnast.training.crew import Crew, Lost
from gymnast.training.experience import Errors, Experience, Streams
from gymnast.training.loop import PULSE, Loop
from gymnast.training.parts import Parts

STEPS = 32
"""Steps of an actor's rows in one answer, at most."""


class ApeXLoop(Loop):
    """A loop whose steps are taken by the members of a crew."""

    @property
    def exact_resume(self) -> bool:
        return False

    def __init__(self, parts: Parts, crew: Crew) -> None:
        assert isinstance(parts.agent, DQN)
        super().__init__(parts.agent, parts.actor, parts.env)
        self.compiled, self._rollout = False, None
        self.agent: DQN = parts.agent
        self._parts, self._crew, self._config = parts, crew, parts.config
        self._rows = parts.options.rows
        self._placed = Placed(self.agent, STEPS)
        self._actors: list[_Actor] = []
        self._published: tuple[int, Any] | None = None
        self.lost = self.dropped = 0
        """Actors lost, and the env steps asked of them that never arrived."""

    def counts(self) -> dict[str, float]:
        """Actors lost, env steps lost with them, and how many updates old the weights of the last steps were."""
        ages = [self.agent.updates - actor.version for actor in self._actors]
        age = {"weights_age": sum(ages) / len(ages)} if ages else {}
        return {"actors_lost": self.lost, "steps_dropped": self.dropped, **age}

    def _advance(self, until: int, pulse: Callable[[], bool]) -> None:
        if not self._actors:
            self._start()
        stopped, pulsed = False, perf_counter()
        while self._asked or (self.env_step < until and not stopped):
            waited = perf_counter()
            arrived = self._arrived(self._crew.answers(PULSE))
            self.seconds.env += perf_counter() - waited
            if not stopped:
                self._ask(until - sum(experience.num_active for _, experience in arrived))
            if arrived:
                began = perf_counter()
                self._store(arrived)
                self._learn()
                self.seconds.learn += perf_counter() - began
            if perf_counter() - pulsed >= PULSE:
                stopped, pulsed = pulse() or stopped, perf_counter()

    @property
    def _asked(self) -> int:
        """Env steps that actors have been asked for and have not brought yet."""
        return sum(actor.asked for actor in self._actors) * self._rows

    def _ask(self, until: int) -> None:
        """Ask idle actors for their next steps, together for no more than `until` env steps allow."""
        for number, actor in enumerate(self._actors):
            left = until - self.env_step - self._asked
            if actor.asked or left <= 0:
                continue
            actor.asked = min(STEPS, -(-left // self._rows))
            due = actor.since >= self._config.actor_sync
            actor.since = actor.asked * self._rows + (0 if due else actor.since)
            self._crew.ask(number, actor.asked, self._weights() if due else None)

    def _weights(self) -> Any:
        """The newest weights with their version, published."""
        if self._published is None or self._published[0] != self.agent.updates:
            version = self.agent.updates
            self._published = version, self._crew.publish((version, weights_of(self.agent)))
        return self._published[1]

    # Actors.

    def _start(self) -> None:
        config, parts = self._config, self._parts
        self._streams = Streams(parts.env.obs, self.agent.num_envs, device=self.agent.device)
        epsilons = exploration(config, self.agent.num_envs).reshape(config.actors, self._rows)
        seeds = np.random.SeedSequence([parts.options.seed, self.env_step]).spawn(config.actors)
        for number, seed in enumerate(seeds):
            actor = _Actor(seed, epsilons[number], since=config.actor_sync)
            self._actors.append(actor)
            self._crew.start(number, self._maker(actor))

    def _maker(self, actor: _Actor) -> ApeXActorMaker:
        parts = self._parts
        (seed,) = actor.seed.spawn(1)  # the next one of this actor's
        return ApeXActorMaker(parts.config, parts.options, parts.env_like, seed, actor.epsilons, STEPS)

    def _arrived(self, answers: Sequence[tuple[int, Any]]) -> list[tuple[int, Experience]]:
        """The experience that has come; a lost actor is replaced."""
        found = []
        for number, answer in answers:
            actor = self._actors[number]
            if isinstance(answer, Lost):
                self._replace(number, answer)
                continue
            if answer.first != actor.next:
                raise WorkerError(f"actor {number} sent step {answer.first} where step {actor.next} was expected")
            actor.next, actor.asked, actor.version = answer.first + answer.length, 0, answer.version
            found.append((number, answer))
        return found

    def _replace(self, number: int, lost: Lost) -> None:
        """Start an actor with the same exploration and new episodes; the steps asked of the lost one are dropped."""
        actor = self._actors[number]
        if not actor.next:
            raise WorkerError(lost.cause)  # before its first answer: the next one would fare the same
        steps = actor.asked * self._rows
        self.lost += 1
        self.dropped += steps
        warnings.warn(f"{lost.cause}: replaced, {steps} steps asked of it are dropped", EnvWarning, stacklevel=2)
        actor.asked, actor.next, actor.since = 0, 0, self._config.actor_sync
        self._crew.start(number, self._maker(actor))

    # Experience.

    def _store(self, arrived: Sequence[tuple[int, Experience]]) -> None:
        """Store steps, those of several actors together; then set the priorities that came with them."""
        streams, rows = self._streams, self._rows
        parts = [(slice(number * rows, (number + 1) * rows), experience) for number, experience in arrived]
        for among, experience in parts:
            if experience.began is not None:
                streams.begin(among, experience.began)
                self._placed.begin(among)
        for index in range(max(experience.length for _, experience in parts)):
            taking = [(among, experience, index) for among, experience in parts if index < experience.length]
            obs, acted, step = streams.step(taking)
            self.agent.store(obs, acted, step)
            self.env_step += step.num_active
            self._placed.add(step.active)
        for among, experience in parts:
            for episode_return, length in experience.episodes:
                self.episodes.add(episode_return, length, env_step=self.env_step)
            if experience.errors is not None:
                self._placed.prioritize(among, experience.errors)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "actors": {"lost": self.lost, "dropped": self.dropped}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.lost, self.dropped = state["actors"]["lost"], state["actors"]["dropped"]

    def close(self) -> None:
        self._crew.close()
        self._actors = []


@dataclass
class _Actor:
    """What the learner knows of an actor."""

    seed: np.random.SeedSequence
    epsilons: np.ndarray
    since: int
    """Env steps asked of it since it was handed weights."""
    asked: int = 0
    """Steps of its rows that it has been asked for and has not brought yet."""
    next: int = 0
    """The number of its next step: steps of its rows that have arrived since it, or its replacement, began."""
    version: int = 0
    """Updates in the weights of its last steps."""


class Placed:
    """The slots in which an agent's replay keeps the last steps of each stream, for priorities that come later."""

    def __init__(self, agent: DQN, steps: int) -> None:
        """For errors that come with no more than `steps` further steps."""
        replay = agent.allocate()
        self._ring = replay if agent.config.prioritized and isinstance(replay, Ring | DeviceRing) else None
        self._slot = torch.zeros((agent.num_envs, steps + agent.config.n_step), dtype=torch.int64, device=agent.device)
        self._taken = torch.zeros(agent.num_envs, dtype=torch.int64)  # steps of each stream

    def begin(self, rows: slice) -> None:
        """The steps of these streams are counted from 0 again."""
        self._taken[rows] = 0

    def add(self, active: Tensor | None) -> None:
        """The replay has stored a step of the streams, or of those that are active."""
        if self._ring is None:
            return
        ring = self._ring
        rows = torch.arange(len(self._taken)) if active is None else active.cpu().nonzero().flatten()
        slot = (torch.as_tensor(ring.slot, device=self._slot.device)[rows] - ring.num_envs) % ring.slots
        self._slot[rows, self._taken[rows] % self._slot.shape[1]] = slot
        self._taken[rows] += 1

    def prioritize(self, rows: slice, errors: Errors) -> None:
        """Tell the sampler the errors of an actor's transitions, whose rows are these streams."""
        if self._ring is None or not len(errors.row):
            return
        row, number = torch.from_numpy(errors.row + rows.start), torch.from_numpy(errors.number)
        index = self._slot[row, number % self._slot.shape[1]]
        self._ring.sampler.update(index, torch.from_numpy(errors.error).to(index.device))
