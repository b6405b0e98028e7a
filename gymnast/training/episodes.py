"""Ended episodes, counted on the device; the host waits only when it reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray

from gymnast.envs.step import Step


class EndedEpisodes:
    """The last `size` ended episodes, in the order in which they ended (lower rows first within a step)."""

    def __init__(self, size: int, *, device: torch.device) -> None:
        self.size = size
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.returns = torch.zeros(size + 1, dtype=dtype, device=device)  # the last slot takes all others
        self.lengths = torch.zeros(size + 1, dtype=torch.int64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        """Total number of episodes."""

    def add(self, step: Step) -> None:
        """Add a step's rows; fixed shapes, in place."""
        if step.episode_return is None or step.episode_length is None:
            return
        rank = step.ended.cumsum(0)  # [N], 1 for the first that ended
        kept = step.ended & (rank > rank[-1] - self.size)  # no slot is written twice
        place = torch.where(kept, (self.count + rank - 1) % self.size, self.size)
        self.returns.scatter_(0, place, step.episode_return)
        self.lengths.scatter_(0, place, step.episode_length)
        self.count += rank[-1]

    def read(self, since: int) -> tuple[int, list[float], list[int]]:
        """Their total number, and returns and lengths of those after the first `since`, as far as kept."""
        count = int(self.count)
        places = [number % self.size for number in range(max(since, count - self.size), count)]
        if not places:
            return count, [], []
        returns, lengths = self.returns.tolist(), self.lengths.tolist()
        return count, [returns[place] for place in places], [lengths[place] for place in places]


Numbers: TypeAlias = "Sequence[float] | NDArray[Any]"
WINDOW = 100
"""Number of episodes in the running means."""


@dataclass
class EpisodeStatistics:
    """Statistics of the training episodes that have ended."""

    count: int = 0
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))
    on_device: EndedEpisodes | None = None
    """Episodes that only the device knows until they are read."""
    kept: list[tuple[int, float, int]] | None = None
    """Env step, return and length of each episode since `take`, if a tracker needs them."""
    _read: int = 0

    def add(self, episode_return: float, length: int, *, env_step: int) -> None:
        """Add an episode that ended at an env step."""
        self.count += 1
        self.returns.append(episode_return)
        self.lengths.append(length)
        if self.kept is not None:
            self.kept.append((env_step, episode_return, length))

    def add_all(self, returns: Numbers, lengths: Numbers, *, env_step: int) -> None:
        """Add episodes that have ended by an env step; only as many as are used."""
        used = len(returns) if self.kept is not None else min(len(returns), WINDOW)
        self.count += len(returns) - used
        for index in range(len(returns) - used, len(returns)):
            self.add(float(returns[index]), int(lengths[index]), env_step=env_step)

    def take(self) -> list[tuple[int, float, int]]:
        """The episodes since the last call."""
        taken = self.kept or []
        if taken:
            self.kept = []
        return taken

    def add_ended(self, step: Step, *, env_step: int) -> None:
        """Add the rows of a step whose episodes ended."""
        if step.episode_return is None or step.episode_length is None:
            return
        rows = step.ended.nonzero().flatten().tolist()
        returns, lengths = step.episode_return.tolist(), step.episode_length.tolist()
        for row in rows:
            self.add(returns[row], lengths[row], env_step=env_step)

    def read(self, *, env_step: int) -> None:
        """Read the episodes from the device; waits for it."""
        if self.on_device is None:
            return
        count, returns, lengths = self.on_device.read(self._read)
        self.count += count - self._read - len(returns)
        self._read = count
        self.add_all(returns, lengths, env_step=env_step)

    def means(self) -> dict[str, float]:
        """Mean return and length of the last episodes; empty before the first one."""
        if not self.returns:
            return {}
        return {
            "return_mean": sum(self.returns) / len(self.returns),
            "length_mean": sum(self.lengths) / len(self.lengths),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "returns": list(self.returns), "lengths": list(self.lengths)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        self.returns = deque(state["returns"], maxlen=WINDOW)
        self.lengths = deque(state["lengths"], maxlen=WINDOW)
