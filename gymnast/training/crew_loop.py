"""A loop whose steps are taken by a crew: it counts them, keeps every member busy and replaces lost ones.

It has the interface of `loop.Loop`, so that logs, evaluations and checkpoints are the same; they happen while no member
has a request. Which member's steps come first is up to the operating system, so that a run cannot be repeated bit for
bit. Members are not kept: a resumed run continues with the agent and with new episodes.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from gymnast.envs.errors import EnvWarning
from gymnast.envs.rows.processes import WorkerError
from gymnast.training.crew import Crew, Lost, Maker
from gymnast.training.loop import PULSE, Loop
from gymnast.training.parts import Parts


class Brought(Protocol):
    """What every answer says of the steps that it brings."""

    @property
    def first(self) -> int:
        """Number of its first step among those of its member: each is brought once, without a gap."""
        ...

    @property
    def length(self) -> int:
        """Steps of the member's rows."""
        ...

    @property
    def num_active(self) -> int:
        """The env steps in it."""
        ...

    @property
    def version(self) -> int:
        """Updates in the weights that chose its actions."""
        ...

    @property
    def episodes(self) -> Sequence[tuple[float, int]]:
        """Returns and lengths of the episodes that ended in it."""
        ...


@dataclass
class Employed:
    """What the loop knows of a member."""

    seed: np.random.SeedSequence
    """Spawns the seed of the member, and of each that replaces it."""
    asked: int = 0
    """Steps of its rows that it has been asked for and has not brought yet."""
    next: int = 0
    """Number of its next step."""
    since: int = 0
    """Env steps asked of it since it was handed weights."""
    version: int | None = None
    """Updates in the weights of its last steps; None before its first ones."""


class CrewLoop(Loop):
    """Asks members for steps, for the next ones before it learns from the last.

    Both sides work at once, and neither is ahead of the other by more than one answer of each member.
    """

    @property
    def exact_resume(self) -> bool:
        return False

    def __init__(self, parts: Parts, crew: Crew, *, size: int, most: int) -> None:
        """`size` members bring at most `most` steps of their rows in one answer."""
        super().__init__(parts.agent, parts.actor, parts.env)
        self.compiled, self._rollout = False, None
        self.parts, self.crew, self.size, self.most = parts, crew, size, most
        self.rows = parts.options.rows
        self.members: list[Employed] = []
        self.lost = self.dropped = 0
        """Members lost, and the env steps asked of them that never arrived."""

    # Defined by each kind.

    @abstractmethod
    def begin(self) -> None:
        """Before the first request."""

    @abstractmethod
    def maker(self, number: int, seed: np.random.SeedSequence) -> Maker:
        """Makes a member in its process."""

    @abstractmethod
    def request(self, member: Employed) -> tuple[Any, Any]:
        """What to ask of a member for its next `asked` steps, and what to hand with it."""

    @abstractmethod
    def take(self, arrived: Sequence[tuple[int, Any]]) -> None:
        """Learn from answers, and count their env steps."""

    # The loop.

    def counts(self) -> dict[str, float]:
        """Members lost, env steps dropped with them, and how many updates old the weights of the last steps were."""
        ages = [self.agent.updates - member.version for member in self.members if member.version is not None]
        age = {"weights_age": sum(ages) / len(ages)} if ages else {}
        return {f"{self.parts.processes}_lost": self.lost, "steps_dropped": self.dropped, **age}

    def _advance(self, until: int, pulse: Callable[[], bool]) -> None:
        if not self.members:
            self._start()
        stopped, pulsed = False, perf_counter()
        while self._asked or (self.env_step < until and not stopped):
            waited = perf_counter()
            arrived = self._arrived(self.crew.answers(PULSE)) if self._asked else []
            self.seconds.env += perf_counter() - waited
            if not stopped:
                self._ask(until - sum(answer.num_active for _, answer in arrived))
            if arrived:
                began = perf_counter()
                self.take(arrived)
                for _, answer in arrived:
                    for episode_return, length in answer.episodes:
                        self.episodes.add(episode_return, length, env_step=self.env_step)
                self.seconds.learn += perf_counter() - began
            if perf_counter() - pulsed >= PULSE:
                stopped, pulsed = pulse() or stopped, perf_counter()

    def _start(self) -> None:
        self.begin()
        for number, seed in enumerate(
            np.random.SeedSequence([self.parts.options.seed, self.env_step]).spawn(self.size)
        ):
            self.members.append(Employed(seed))
            self._employ(number)

    def _employ(self, number: int) -> None:
        (seed,) = self.members[number].seed.spawn(1)  # another one for each that replaces it
        self.crew.start(number, self.maker(number, seed))

    @property
    def _asked(self) -> int:
        """Env steps that members have been asked for and have not brought yet."""
        return sum(member.asked for member in self.members) * self.rows

    def _ask(self, until: int) -> None:
        """Ask idle members for their next steps, together for no more than `until` env steps allow."""
        for number, member in enumerate(self.members):
            left = until - self.env_step - self._asked
            if member.asked or left <= 0:
                continue
            member.asked = min(self.most, -(-left // self.rows))
            self.crew.ask(number, *self.request(member))

    def _arrived(self, answers: Sequence[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """The answers that bring steps; a lost member is replaced."""
        found = []
        for number, answer in answers:
            member = self.members[number]
            if isinstance(answer, Lost):
                self._replace(number, answer)
                continue
            if answer.first != member.next or answer.length != member.asked:
                raise WorkerError(
                    f"{self.parts.processes} number {number} brought {answer.length} steps from step {answer.first} "
                    f"on, where {member.asked} from step {member.next} on were expected"
                )
            member.next, member.asked, member.version = answer.first + answer.length, 0, answer.version
            found.append((number, answer))
        return found

    def _replace(self, number: int, lost: Lost) -> None:
        """Start a member with new episodes in place of a lost one; the steps asked of that are dropped."""
        member = self.members[number]
        if not member.next:
            raise WorkerError(lost.cause)  # before its first answer: the next one would fare the same
        steps = member.asked * self.rows
        self.lost += 1
        self.dropped += steps
        warnings.warn(f"{lost.cause}: replaced; {steps} env steps asked of it are dropped", EnvWarning, stacklevel=2)
        self.members[number] = Employed(member.seed)
        self._employ(number)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lost": self.lost, "dropped": self.dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.lost, self.dropped = state["lost"], state["dropped"]

    def close(self) -> None:
        """End all members."""
        self.crew.close()
        self.members = []
