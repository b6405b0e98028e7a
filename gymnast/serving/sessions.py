"""The memories of recurrent policies, one for each session, kept here; the least recently used one is dropped.

Requests of different sessions that wait share a forward pass, each with its own memory. Those of one
session, and draws, whose generator belongs to the session, are answered one after the other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gymnast.serving.form import rows_at, stacked
from gymnast.serving.refused import Refused
from gymnast.serving.served import Policy, Served


@dataclass(frozen=True, eq=False)
class Ask:
    """The next observations of a session."""

    id: str
    obs: Any
    """[N, ...]."""
    rows: int | None
    """N of a batch, None for a single observation."""
    start: Any
    """A bool, or bool [N]: which rows begin an episode. If all do, the session begins too."""
    mask: np.ndarray | None
    deterministic: bool

    @property
    def starts(self) -> np.ndarray:
        return np.array(np.broadcast_to(np.asarray(self.start, np.bool_), (self.rows or 1,)))


@dataclass
class Session:
    """What is remembered of a session, and what its later requests must agree with."""

    stream: Served | None
    """Its own stream; None if its memory is kept here."""
    memory: np.ndarray
    """float32 [N, M]."""
    rows: int | None
    deterministic: bool


class Sessions:
    """Sessions of one policy, by id. All calls come from the policy's thread."""

    def __init__(self, policy: Policy, *, most: int, seed: int, on_drop: Callable[[], None] = lambda: None) -> None:
        self.policy, self.most, self.seed, self.on_drop = policy, most, seed, on_drop
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._opened = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def act_many(self, asks: Sequence[Ask], batches: list[int]) -> list[Any]:
        """For each, actions [N, ...], or the error that it meets; the rows of each forward pass go into `batches`.

        It is Refused with 409 if a session should continue but is not known.
        """
        results: list[Any] = []
        for group in _without_repeats(asks):
            results += self._act_group(group, batches)
        return results

    def _act_group(self, asks: Sequence[Ask], batches: list[int]) -> list[Any]:
        """Answer requests of different sessions."""
        results: dict[Ask, Any] = {}
        together: list[tuple[Ask, Session]] = []
        for ask in asks:
            try:
                session = self._session(ask)
                if session.stream is None:
                    together.append((ask, session))
                else:
                    batches.append(ask.rows or 1)
                    results[ask] = session.stream.predict(ask.obs, start=ask.starts.tolist(), action_mask=ask.mask)
            except Exception as error:
                results[ask] = error
        results |= self._step(together, batches)
        return [results[ask] for ask in asks]

    def _step(self, together: Sequence[tuple[Ask, Session]], batches: list[int]) -> dict[Ask, Any]:
        """One forward pass for all; if one of them makes it fail, one for each."""
        if not together:
            return {}
        assert self.policy.stepper is not None
        asks = [ask for ask, _ in together]
        memory = np.concatenate([session.memory for _, session in together])
        start, mask = np.concatenate([ask.starts for ask in asks]), _masks(asks)
        try:
            actions, after = self.policy.stepper.step(stacked([ask.obs for ask in asks]), memory, start, mask)
        except Exception as error:
            if len(together) == 1:
                return {asks[0]: error}
            return {ask: result for pair in together for ask, result in self._step([pair], batches).items()}
        batches.append(len(start))
        results, at = {}, 0
        for ask, session in together:
            rows = slice(at, at + (ask.rows or 1))
            results[ask], session.memory = rows_at(actions, rows), after[rows]
            at = rows.stop
        return results

    def _session(self, ask: Ask) -> Session:
        """The session of a request, begun if the request says so; Refused with 409 if it is not known."""
        session = self._sessions.get(ask.id)
        alike = session is not None and (session.rows, session.deterministic) == (ask.rows, ask.deterministic)
        if session is None or not alike:
            if not ask.starts.all():
                raise Refused(409, self._why(ask.id, session, ask.rows))
            session = self._begin(ask)
        self._sessions.move_to_end(ask.id)
        return session

    def _why(self, id: str, session: Session | None, rows: int | None) -> str:
        if session is None:
            return f"session {id!r} is not known: it was never started or has been dropped; start it with start true"
        if session.rows == rows:
            return f"session {id!r} was started with another value of deterministic"
        before, now = ("a single observation" if n is None else f"{n} observations" for n in (session.rows, rows))
        return f"session {id!r} was started with {before}, not {now}"

    def _begin(self, ask: Ask) -> Session:
        self._opened += 1
        stepper = self.policy.stepper if ask.deterministic else None
        stream = None if stepper is not None else self.policy.stream(ask.deterministic, self.seed + self._opened)
        memory = np.zeros((ask.rows or 1, 0 if stepper is None else stepper.memory_size), np.float32)
        session = Session(stream, memory, ask.rows, ask.deterministic)
        self._sessions[ask.id] = session
        if len(self._sessions) > self.most:
            self._sessions.popitem(last=False)
            self.on_drop()
        return session


def _without_repeats(asks: Sequence[Ask]) -> Iterator[list[Ask]]:
    """The requests in their order, in groups in which no session comes twice."""
    group: list[Ask] = []
    for ask in asks:
        if any(other.id == ask.id for other in group):
            yield group
            group = []
        group.append(ask)
    if group:
        yield group


def _masks(asks: Sequence[Ask]) -> np.ndarray | None:
    """The masks of all observations, bool [N, A], with everything allowed where a request has none."""
    size = next((ask.mask.shape[-1] for ask in asks if ask.mask is not None), None)
    if size is None:
        return None
    return np.concatenate(
        [np.ones((ask.rows or 1, size), np.bool_) if ask.mask is None else ask.mask.reshape(-1, size) for ask in asks]
    )
