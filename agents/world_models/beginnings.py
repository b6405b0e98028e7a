"""How real episodes begin, kept for dreams to begin the same way."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from gymnast.envs.step import Obs
from gymnast.replay.layout import Layout

KEPT = 256
"""Episodes whose first observations are kept, the latest ones."""


class Beginnings:
    """The first observations of the latest episodes."""

    def __init__(self, space: gym.Space[Any], *, device: torch.device) -> None:
        self._layout = Layout(space)
        self.parts = [torch.zeros((KEPT, *leaf.shape), dtype=leaf.dtype, device=device) for leaf in self._layout.leaves]
        """One tensor for each part of an observation."""
        self.episodes = 0
        """Episodes begun so far."""

    def keep(self, obs: Obs, start: Tensor) -> None:
        """Keep the observations [N, ...] of the rows, bool [N], whose episode begins."""
        for row in start.nonzero().flatten().tolist():
            for kept, part in zip(self.parts, self._layout.split(obs), strict=True):
                kept[self.episodes % KEPT] = part[row]
            self.episodes += 1

    def draw(self, num: int, generator: torch.Generator) -> Obs:
        """Observations [num, ...] of random ones; ValueError if there is none."""
        if not self.episodes:
            raise ValueError("a dream needs the beginning of at least one real episode")
        known = min(self.episodes, KEPT)
        index = torch.randint(known, (num,), generator=generator, device=self.parts[0].device)
        obs: Obs = self._layout.join([part[index] for part in self.parts])
        return obs

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.clone() for part in self.parts], "episodes": self.episodes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, kept in zip(self.parts, state["parts"], strict=True):
            mine.copy_(kept)
        self.episodes = state["episodes"]
