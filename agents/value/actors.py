"""Settings of actors in processes of their own (Ape-X, Horgan et al. 2018), and how much each of them explores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ActorsConfig:
    """The settings of every agent whose experience may come from other processes."""

    actors: int = 0
    """Processes that act while this one learns, each with num_envs environments (Ape-X, Horgan et al. 2018); 0 acts
    here."""
    actor_sync: int = 400
    """Env steps that an actor takes before it gets the newest weights."""
    actor_epsilon: float = 0.4
    """Exploration of the first of all actors' rows; row i of N has this to the power 1 + actor_alpha * i / (N - 1)."""
    actor_alpha: float = 7.0
    """How much less the last row explores than the first."""

    def check_actors(self) -> None:
        """Raise ValueError for a value out of range."""
        for name, low in (("actors", 0), ("actor_sync", 1), ("actor_alpha", 0.0)):
            if not low <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be >= {low:g}, got {getattr(self, name)}")
        if not 0.0 < self.actor_epsilon <= 1.0:
            raise ValueError(f"actor_epsilon must be > 0 and <= 1, got {self.actor_epsilon}")


def exploration(config: Any, rows: int) -> np.ndarray:
    """The exploration of each of `rows` rows over all actors, float64 [rows] (Horgan et al. 2018, section 4.1)."""
    share = np.arange(rows) / max(rows - 1, 1)
    epsilons: np.ndarray = config.actor_epsilon ** (1.0 + config.actor_alpha * share)
    return epsilons
