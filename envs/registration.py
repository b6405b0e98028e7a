"""The ids of gymnast's own environments, and of MinAtar's where that package is installed."""

from __future__ import annotations

from importlib.util import find_spec

import gymnasium as gym

OWN: dict[str, tuple[str, int | None]] = {
    "gymnast/Catch-v0": ("gymnast.envs.catch:Catch", None),
    "gymnast/Chain-v0": ("gymnast.envs.chain:Chain", 100),
    "gymnast/Memory-v0": ("gymnast.envs.memory:Memory", None),
    "gymnast/Bandit-v0": ("gymnast.envs.bandit:Bandit", 1000),
}
"""Entry point and time limit of each id."""
MINATAR = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
"""The games of MinAtar (Young and Tian 2019), whose ids Gymnasium 1.0 and later do not find by themselves."""


def register() -> None:
    """Make gymnast's ids known to Gymnasium; calling it twice is harmless."""
    for id, (entry_point, limit) in OWN.items():
        if id not in gym.registry:
            gym.register(id, entry_point=entry_point, max_episode_steps=limit)
    if find_spec("minatar") is None:
        return
    for game in MINATAR:
        id = f"MinAtar/{game.title().replace('_', '')}-v1"
        if id not in gym.registry:
            settings = {"game": game, "use_minimal_action_set": True}  # what v1 means, v0 has all six actions
            gym.register(id, entry_point="minatar.gym:BaseEnv", kwargs=settings)
