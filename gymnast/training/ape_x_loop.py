"""Ape-X (Horgan et al. 2018): this process learns, actors in processes of their own bring the experience.

As many updates are made per env step as the agent's settings say: actors wait for the learner, and it for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.value.actors import exploration
from gymnast.agents.value.dqn import DQN
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.ring import Ring
from gymnast.training.ape_x_actor import ApeXActorMaker, weights_of
from gymnast.training.crew import Crew
from gymnast.training.crew_loop import CrewLoop, Employed
from gymnast.training.experience import Errors, Experience, Streams
from gymnast.training.parts import Parts

STEPS = 32
"""Steps of an actor's rows in one answer, at most."""


class ApeXLoop(CrewLoop):
    """A loop whose steps are taken by actors; the agent's replay has a stream for each of their rows."""

    def __init__(self, parts: Parts, crew: Crew) -> None:
        super().__init__(parts, crew, size=parts.config.actors, most=STEPS)
        agent: Any = parts.agent
        assert isinstance(agent, DQN)  # like every agent whose config has actors
        self._dqn: DQN = agent
        self._placed = Placed(agent, STEPS)
        self._published: tuple[int, Any] | None = None

    def begin(self) -> None:
        self._streams = Streams(self.env.obs, self._dqn.num_envs, device=self._dqn.device)
        self._epsilons = exploration(self.parts.config, self._dqn.num_envs).reshape(self.size, self.rows)

    def maker(self, number: int, seed: np.random.SeedSequence) -> ApeXActorMaker:
        parts = self.parts
        return ApeXActorMaker(parts.config, parts.options, parts.env_like, seed, self._epsilons[number], STEPS)

    def request(self, member: Employed) -> tuple[int, Any]:
        """The number of steps, with the newest weights before the first ones and after every `actor_sync` env steps."""
        due = member.version is None or member.since >= self.parts.config.actor_sync
        member.since = member.asked * self.rows + (0 if due else member.since)
        return member.asked, self._weights() if due else None

    def _weights(self) -> Any:
        """The newest weights with their version, published."""
        if self._published is None or self._published[0] != self._dqn.updates:
            version = self._dqn.updates
            self._published = version, self.crew.publish((version, weights_of(self._dqn)))
        return self._published[1]

    def take(self, arrived: Sequence[tuple[int, Experience]]) -> None:
        """Store steps, those of several actors together, and the errors that came with them; then learn if due."""
        streams, rows = self._streams, self.rows
        parts = [(slice(number * rows, (number + 1) * rows), experience) for number, experience in arrived]
        for among, experience in parts:
            if experience.began is not None:
                streams.begin(among, experience.began)
                self._placed.begin(among)
        for obs, acted, step in streams.steps(parts):
            self._dqn.store(obs, acted, step)
            self.env_step += step.num_active
            self._placed.add(step.active)
        for among, experience in parts:
            if experience.errors is not None:
                self._placed.prioritize(among, experience.errors)
        self._learn()


class Placed:
    """The slots in which an agent's replay keeps the last steps of each stream, for priorities that come later."""

    def __init__(self, agent: DQN, steps: int) -> None:
        """For errors that come with no more than `steps` further steps."""
        replay = agent.allocate()
        self._ring = replay if agent.config.prioritized and isinstance(replay, Ring | DeviceRing) else None
        self._device = agent.device
        self._slot = np.zeros((agent.num_envs, steps + agent.config.n_step), np.int64)
        self._taken = np.zeros(agent.num_envs, np.int64)  # steps of each stream
        self._all = np.arange(agent.num_envs)

    def begin(self, rows: slice) -> None:
        """The steps of these streams are counted from 0 again."""
        self._taken[rows] = 0

    def add(self, active: Tensor | None) -> None:
        """The replay has stored a step of the streams, or of those that are active."""
        ring = self._ring
        if ring is None:
            return
        slot = ring.slot if isinstance(ring, Ring) else ring.slot.cpu().numpy()
        rows = self._all if active is None else np.flatnonzero(active.cpu().numpy())
        self._slot[rows, self._taken[rows] % self._slot.shape[1]] = (slot[rows] - ring.num_envs) % ring.slots
        self._taken[rows] += 1

    def prioritize(self, rows: slice, errors: Errors) -> None:
        """Tell the sampler the errors of an actor's transitions, whose rows are these streams."""
        if self._ring is None or not len(errors.row):
            return
        index = self._slot[errors.row + rows.start, errors.number % self._slot.shape[1]]
        error = np.array(errors.error)  # what comes from a cluster cannot be written to
        self._ring.sampler.update(*(torch.from_numpy(array).to(self._device) for array in (index, error)))
