"""The memories of recurrent policies: one stream for each session, kept here, the least recently used one dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gymnast.serving.refused import Refused
from gymnast.serving.served import Policy, Served


@dataclass(frozen=True)
class Session:
    """A stream and what its later requests must agree with."""

    stream: Served
    rows: int | None
    """N of a batch, None for single observations."""
    deterministic: bool


class Sessions:
    """Sessions of one policy, by id. All calls come from the policy's thread."""

    def __init__(self, policy: Policy, *, most: int, seed: int, on_drop: Callable[[], None] = lambda: None) -> None:
        self.policy, self.most, self.seed, self.on_drop = policy, most, seed, on_drop
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._opened = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def act(
        self, id: str, obs: Any, rows: int | None, *, start: Any, mask: np.ndarray | None, deterministic: bool
    ) -> Any:
        """Actions [N, ...] for the next observations [N, ...] of a session.

        `start` is a bool, or bool [N]: which rows begin an episode. If all do, the session begins too. Refused with
        409 if it should continue but is not known.
        """
        starts = np.broadcast_to(np.asarray(start, np.bool_), (rows or 1,))
        session = self._sessions.get(id)
        alike = session is not None and (session.rows, session.deterministic) == (rows, deterministic)
        if session is None or not alike:
            if not starts.all():
                raise Refused(409, self._why(id, session, rows))
            session = self._begin(id, rows, deterministic)
        self._sessions.move_to_end(id)
        return session.stream.predict(obs, start=starts.tolist(), action_mask=mask)

    def _why(self, id: str, session: Session | None, rows: int | None) -> str:
        if session is None:
            return f"session {id!r} is not known: it was never started or has been dropped; start it with start true"
        if session.rows == rows:
            return f"session {id!r} was started with another value of deterministic"
        before, now = ("a single observation" if n is None else f"{n} observations" for n in (session.rows, rows))
        return f"session {id!r} was started with {before}, not {now}"

    def _begin(self, id: str, rows: int | None, deterministic: bool) -> Session:
        self._opened += 1
        session = Session(self.policy.stream(deterministic, self.seed + self._opened), rows, deterministic)
        self._sessions[id] = session
        if len(self._sessions) > self.most:
            self._sessions.popitem(last=False)
            self.on_drop()
        return session
