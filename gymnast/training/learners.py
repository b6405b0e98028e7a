"""The loop of a run with several learners, and what learners other than the first one do.

Learner 0 is the process of the command: it logs, evaluates and writes checkpoints, while the others wait for it to say
how far to train. All of them take the same number of steps, and stop after the same update.
"""

from __future__ import annotations

import pickle
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch.distributed as dist

from gymnast.agents.optim.together import COMMON, ActsTogether, LearnerLostError, LearnsTogether
from gymnast.envs.errors import EnvError, EnvWarning
from gymnast.envs.rows.processes import WorkerError
from gymnast.errors import UsageError, first_line
from gymnast.settings import agents
from gymnast.storage import rebuild
from gymnast.storage.last import LearnerState
from gymnast.training.episodes import EpisodeStatistics, Numbers
from gymnast.training.learner_group import Group, Meeting, said_ready
from gymnast.training.loop import Loop, Seconds
from gymnast.training.parts import Parts
from gymnast.training.restoring import restore_env

POLL = 0.02
"""Seconds between two looks at learners that are starting or ending."""
STATE, OVER = "state", "over"
"""What learner 0 says other than the env step up to which to train."""


@dataclass(frozen=True)
class Task:
    """The task of a learner that another process starts."""

    agent: str
    pickled: bytes
    """Class of the agent, options, config and environment, by cloudpickle."""
    meeting: Meeting


class Followers(Protocol):
    """The processes of learners 1 and up."""

    def start(self, task: Task) -> None:
        """Have all of them begin to `work`."""
        ...

    def cause(self, *, wait: float = 0.0) -> str | None:
        """Why one of them has ended, if it has or does within so many seconds."""
        ...

    def close(self) -> None:
        """End them; calling it twice is harmless."""
        ...


@dataclass
class SharedSeconds(Seconds):
    """Time spent in each part of the loop of several learners."""

    exchange: float = 0.0
    """Sums of gradients, the wait for other learners included."""


@dataclass
class SharedEpisodes(EpisodeStatistics):
    """Statistics of all learners' episodes, as far as they have told each other."""

    told: list[tuple[int, float, int]] = field(default_factory=list)
    """Env step, return and length of this learner's own since the last `pool`."""
    _known: int = 0

    def add(self, episode_return: float, length: int, *, env_step: int) -> None:
        self.told.append((env_step, episode_return, length))

    def add_all(self, returns: Numbers, lengths: Numbers, *, env_step: int) -> None:
        self.told += [(env_step, float(one), int(length)) for one, length in zip(returns, lengths, strict=True)]

    def untold(self) -> tuple[int, list[tuple[int, float, int]]]:
        """This learner's own episodes since the last call, and how many more there were of which nothing is known."""
        told, self.told = self.told, []
        return self.count - self._known, told

    def pool(self, found: list[tuple[int, list[tuple[int, float, int]]]]) -> None:
        """Add all learners' `untold`: by env step, and then by row."""
        self.count = self._known + sum(unknown for unknown, _ in found)
        ended = [one for _, told in found for one in told]
        for env_step, episode_return, length in sorted(ended, key=lambda one: one[0]):  # a stable order
            super().add(episode_return, length, env_step=env_step)
        self._known = self.count

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._known = self.count


class LearnersLoop(Loop):
    """The loop of one of several learners."""

    def __init__(self, parts: Parts, group: Group, followers: Followers | None = None) -> None:
        agent = parts.agent
        assert isinstance(agent, LearnsTogether)
        assert isinstance(parts.actor, ActsTogether)
        super().__init__(agent, parts.actor, parts.env)
        self.learners = group.count
        on_device, self.episodes = self.episodes.on_device, SharedEpisodes()
        self.episodes.on_device = on_device
        self.seconds = SharedSeconds()
        self._parts, self._group, self._followers = parts, group, followers
        agent.join(group)
        parts.actor.rows = group.rows

    # Learner 0.

    def advance(self, until: int, pulse: Callable[[], bool]) -> None:
        with self._answered():
            self._group.hear(until)
            self.together(until, pulse)

    def others(self) -> list[dict[str, Any]]:
        with self._answered():
            self._group.hear(STATE)
            return [vars(state) for state in self._group.collect(None)[1:]]

    def start(self, states: list[LearnerState]) -> list[str]:
        """Give every other learner its state; returns what is to be said of how they restored their environments.

        UsageError if one of them cannot.
        """
        with self._answered():
            self._group.hand_out([None, *states])
            told = self._group.share((None, None))
        wrong = next((error for _, error in told if error is not None), None)
        if wrong is not None:
            raise UsageError(wrong)
        return [f"learner {number}: {note}" for number, (note, _) in enumerate(told) if note is not None]

    def close(self) -> None:
        if self._followers is None or not dist.is_initialized():
            return
        if self.whole:
            self.whole = False
            with suppress(LearnerLostError):  # it ended before it was asked to
                self._group.hear(OVER)
        self._group.leave()
        self._followers.close()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """WorkerError that says which learner has ended and why; after any error the others cannot be asked."""
        try:
            yield
        except LearnerLostError as error:
            self.whole = False
            assert self._followers is not None
            raise WorkerError(self._followers.cause(wait=5.0) or str(error)) from error
        except BaseException:
            self.whole = False
            raise

    # Every learner.

    def together(self, until: int, pulse: Callable[[], bool]) -> None:
        """Train as `advance` does; if a learner's `pulse` returns True, until the end of the rollout."""
        agent, group, episodes = self._parts.agent, self._group, self.episodes
        assert isinstance(agent, LearnsTogether)
        assert isinstance(episodes, SharedEpisodes)
        asked = stopped = False

        def noted() -> bool:
            nonlocal asked
            asked = asked or pulse()
            return False

        while self.env_step < until and not stopped:
            left = (agent.rollout.steps - agent.rollout.length) * group.rows.total
            super().advance(min(until, self.env_step + left), noted)
            told = group.share((asked, episodes.untold()))
            stopped = any(wants for wants, _ in told)
            episodes.pool([ended for _, ended in told])
            self._count_exchange()
        digests = group.share(zlib.crc32(agent.weights.data.cpu().numpy().data))
        if len(set(digests)) > 1:
            raise WorkerError("the learners' weights differ: their machines compute different numbers")

    def _count_exchange(self) -> None:
        """Divide the time of updates into learning and exchanging."""
        seconds = self.seconds
        assert isinstance(seconds, SharedSeconds)
        seconds.learn -= self._group.seconds - seconds.exchange
        seconds.exchange = self._group.seconds

    def follow(self) -> None:
        """What every learner but the first does until that one ends."""
        group = self._group
        while (told := group.hear()) != OVER:
            if told == STATE:
                group.collect(self._own_state())
            else:
                self.together(told, lambda: False)

    def _own_state(self) -> LearnerState:
        parts, env = self._parts, self.env
        agent = {name: part for name, part in parts.agent.state_dict().items() if name not in COMMON}
        snapshot = _kept(env.snapshot) if self.exact_resume else None
        return LearnerState(agent, parts.actor.state_dict(), snapshot, _kept(env.lasting), self.env_step)


def _kept(take: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """A state of an environment; None if it is not available, which learner 0 has said of its own."""
    try:
        return take()
    except (EnvError, ValueError, AttributeError, TypeError):
        return None


def _take(parts: Parts, state: LearnerState, stack: ExitStack) -> tuple[str | None, str | None]:
    """Go on from a state, or begin; returns a note for the user, and why it cannot."""
    note = None
    try:
        rebuild.load_agent(parts.agent, state.agent, Path("last.pt"), replay=True)
        if state.actor:
            parts.actor.load_state_dict(state.actor)
            restored = restore_env(parts, state, stack)
            note = restored.note
        if not state.actor or not restored.env:
            parts.env.reset()
    except (UsageError, EnvError) as error:
        return None, first_line(error)
    return note, None


def work(task: Task, number: int) -> str | None:
    """Be learner `number`, until learner 0 ends; returns why it cannot, in words."""
    warnings.simplefilter("ignore", EnvWarning)  # learner 0 warns
    cls, options, config, env_like = pickle.loads(task.pickled)  # noqa: S301 - from our own parent
    agents.import_backbone(config)
    try:
        with ExitStack() as stack:
            env = None if isinstance(env_like, str) else env_like
            parts = Parts.make(
                cls, options, config, env=env, stack=stack, name=task.agent, resumed=True, learner=number
            )
            store = task.meeting.store()
            store.set(said_ready(number), "1")
            group = Group(task.meeting, store, number, parts.env.num_envs)
            stack.callback(group.leave)
            state: LearnerState = group.hand_out()
            group.share(_take(parts, state, stack))
            loop = LearnersLoop(parts, group)
            loop.env_step = state.env_step
            loop.follow()
    except LearnerLostError:
        return None  # the reason is another learner's, who says it
    except (EnvError, UsageError) as error:
        return first_line(error)
    except Exception as error:  # whatever it is, learner 0 says it
        return f"{type(error).__name__}: {first_line(error)}"
    return None
