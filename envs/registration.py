"""The ids of gymnast's own environments."""

from __future__ import annotations

import gymnasium as gym


def register() -> None:
    """Make gymnast's ids known to Gymnasium; calling it twice is harmless."""
    for id, entry_point in OWN.items():
        if id not in gym.registry:
            gym.register(id, entry_point=entry_point)


OWN = {
    "gymnast/Catch-v0": "gymnast.envs.catch:Catch",
    "gymnast/Chain-v0": "gymnast.envs.chain:Chain",
    "gymnast/Bandit-v0": "gymnast.envs.bandit:Bandit",
}
