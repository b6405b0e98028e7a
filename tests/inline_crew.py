"""A crew without processes, whose members can be lost on purpose."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from gymnast.training.crew import Lost, Maker, Member, pickled


class InlineCrew:
    """Answers one request at each call, that of the longest waiting member; `lose` says which answers are lost."""

    def __init__(self, lose: Callable[[int, int], bool] = lambda number, asked: False) -> None:
        self.lose = lose
        self.members: dict[int, Member] = {}
        self.started: list[int] = []
        self.asked: list[tuple[int, Any, Any]] = []
        self.requests = 0

    def start(self, number: int, maker: Maker) -> None:
        self.started.append(number)
        self.members[number] = pickle.loads(pickled(maker))()  # noqa: S301 - from this process

    def publish(self, value: Any) -> bytes:
        return pickle.dumps(value)

    def ask(self, number: int, request: Any, handed: Any = None) -> None:
        assert number not in [waiting for waiting, *_ in self.asked]
        self.asked.append((number, request, handed))

    def answers(self, timeout: float) -> list[tuple[int, Any]]:
        if not self.asked:
            return []
        number, request, handed = self.asked.pop(0)
        self.requests += 1
        given = None if handed is None else pickle.loads(handed)  # noqa: S301 - from this process
        answer = self.members[number].answer(request, given)
        if self.lose(number, self.requests):
            return [(number, Lost(f"member {number} was killed"))]
        return [(number, answer)]

    def close(self) -> None:
        for member in self.members.values():
            member.close()
        self.members = {}
