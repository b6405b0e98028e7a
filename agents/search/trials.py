"""Which candidate each row of the environment plays, and the returns of the episodes that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Trials:
    """A round of whole episodes, the same number for each candidate, distributed over N rows.

    A row plays one candidate until its episode ends and then takes the next episode that no row has begun. A row that
    finds none keeps playing, its results unused, and takes part again when one of its episodes begins in a later
    round. So no episode has two candidates, and every episode begun for a candidate counts, however long it is.
    """

    def __init__(self, num_envs: int) -> None:
        self.candidates: list[int] = []
        """The candidates of the round in playing order; empty before the first round."""
        self.episodes = 1
        """Episodes per candidate."""
        self.returns: list[float] = []
        """Returns of the round's episodes, grouped by candidate; 0 for an episode that has not ended."""
        self.begun = self.ended = 0
        """How many of these episodes have begun and ended."""
        self.episode: list[int | None] = [None] * num_envs
        """The episode that each row plays, None for one that does not count."""
        self.waiting = set(range(num_envs))
        """Idle rows whose episode has no action yet: a new round may still use it."""

    @property
    def complete(self) -> bool:
        """Whether all episodes of a round have ended."""
        return bool(self.candidates) and self.ended == len(self.returns)

    def begin(self, candidates: Sequence[int], episodes: int) -> list[tuple[int, int]]:
        """Begin a new round and return (row, candidate) for each waiting row, which takes part at once."""
        self.candidates, self.episodes = list(candidates), episodes
        self.returns = [0.0] * (len(candidates) * episodes)
        self.begun = self.ended = 0
        taken = [(row, self._take(row)) for row in sorted(self.waiting)]
        return [(row, candidate) for row, candidate in taken if candidate is not None]

    def end(self, row: int, episode_return: float) -> int | None:
        """Record the end of this row's episode and return its next candidate, None to keep the one it has."""
        episode = self.episode[row]
        if episode is not None:
            self.returns[episode] = episode_return
            self.ended += 1
        return self._take(row)

    def _take(self, row: int) -> int | None:
        if self.begun == len(self.returns):
            self.episode[row] = None
            self.waiting.add(row)
            return None
        self.waiting.discard(row)
        self.episode[row] = self.begun
        self.begun += 1
        return self.candidates[(self.begun - 1) // self.episodes]

    def fitness(self) -> Tensor:
        """Mean return of each candidate in the round's order, float64 [C]."""
        return torch.tensor(self.returns, dtype=torch.float64).view(-1, self.episodes).mean(1)

    def state_dict(self) -> dict[str, Any]:
        return {
            "candidates": list(self.candidates),
            "episodes": self.episodes,
            "returns": list(self.returns),
            "begun": self.begun,
            "ended": self.ended,
            "episode": list(self.episode),
            "waiting": sorted(self.waiting),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; ValueError if it has another number of rows."""
        if len(state["episode"]) != len(self.episode):
            raise ValueError(
                f"the checkpoint has {len(state['episode'])} environments, this agent has {len(self.episode)}"
            )
        self.candidates, self.episodes = list(state["candidates"]), state["episodes"]
        self.returns, self.begun, self.ended = list(state["returns"]), state["begun"], state["ended"]
        self.episode, self.waiting = list(state["episode"]), set(state["waiting"])
