"""Which episodes have ended, on the device that alone knows: nothing waits for it until somebody reads."""

from __future__ import annotations

import torch

from gymnast.envs.step import Step


class EndedEpisodes:
    """The last `size` episodes that ended, in the order in which they did (lower rows first within a step)."""

    def __init__(self, size: int, *, device: torch.device) -> None:
        self.size = size
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.returns = torch.zeros(size + 1, dtype=dtype, device=device)  # the last place is where others are put
        self.lengths = torch.zeros(size + 1, dtype=torch.int64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        """Episodes in all."""

    def add(self, step: Step) -> None:
        """Take in a step's rows; fixed shapes, in the same memory."""
        if step.episode_return is None or step.episode_length is None:
            return
        rank = step.ended.cumsum(0)  # [N], 1 for the first that ended
        kept = step.ended & (rank > rank[-1] - self.size)  # no place is written twice
        place = torch.where(kept, (self.count + rank - 1) % self.size, self.size)
        self.returns.scatter_(0, place, step.episode_return)
        self.lengths.scatter_(0, place, step.episode_length)
        self.count += rank[-1]

    def read(self, since: int) -> tuple[int, list[float], list[int]]:
        """How many there are in all, and returns and lengths of those after the first `since`, as far as kept."""
        count = int(self.count)
        places = [number % self.size for number in range(max(since, count - self.size), count)]
        if not places:
            return count, [], []
        returns, lengths = self.returns.tolist(), self.lengths.tolist()
        return count, [returns[place] for place in places], [lengths[place] for place in places]
