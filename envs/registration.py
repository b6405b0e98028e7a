"""The ids of gymnast's own environments."""

from __future__ import annotations

import gymnasium as gym

OWN: dict[str, tuple[str, int | None]] = {
    "gymnast/Catch-v0": ("gymnast.envs.catch:Catch", None),
    "gymnast/Chain-v0": ("gymnast.envs.chain:Chain", 100),
    "gymnast/Bandit-v0": ("gymnast.envs.bandit:Bandit", 1000),
}
"""Entry point and time limit of each id."""


def register() -> None:
    """Make gymnast's ids known to Gymnasium; calling it twice is harmless."""
    for id, (entry_point, limit) in OWN.items():
        if id not in gym.registry:
            gym.register(id, entry_point=entry_point, max_episode_steps=limit)
