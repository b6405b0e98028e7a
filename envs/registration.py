"""The ids of gymnast's own environments, and of MinAtar's if that package is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from gymnast.envs.native.vector import NativeVectorEnv

OWN: dict[str, tuple[str, int | None]] = {
    "gymnast/Catch-v0": ("gymnast.envs.small.catch:Catch", None),
    "gymnast/Chain-v0": ("gymnast.envs.small.chain:Chain", 100),
    "gymnast/DynaMaze-v0": ("gymnast.envs.small.dyna_maze:DynaMaze", 5_000),
    "gymnast/Memory-v0": ("gymnast.envs.small.memory:Memory", None),
    "gymnast/Bandit-v0": ("gymnast.envs.small.bandit:Bandit", 1000),
    "gymnast/Reach-v0": ("gymnast.envs.small.reach:Reach", 50),
}
"""Entry point and time limit of each id."""
NATIVE: dict[str, tuple[str, int | None]] = {
    "gymnast/CartPole-v1": ("gymnast.envs.native.cartpole:CartPole", 500),
    "gymnast/Acrobot-v1": ("gymnast.envs.native.acrobot:Acrobot", 500),
    "gymnast/MountainCar-v0": ("gymnast.envs.native.mountain_car:MountainCar", 200),
    "gymnast/MountainCarContinuous-v0": ("gymnast.envs.native.mountain_car:MountainCarContinuous", 999),
    "gymnast/Pendulum-v1": ("gymnast.envs.native.pendulum:Pendulum", 200),
    "gymnast/FrozenLake-v1": ("gymnast.envs.native.toy_text:FrozenLake", 100),
    "gymnast/FrozenLake8x8-v1": ("gymnast.envs.native.toy_text:FrozenLake8x8", 200),
    "gymnast/CliffWalking-v1": ("gymnast.envs.native.toy_text:CliffWalking", None),
    "gymnast/CliffWalkingSlippery-v1": ("gymnast.envs.native.toy_text:CliffWalkingSlippery", None),
    "gymnast/Taxi-v4": ("gymnast.envs.native.toy_text:Taxi", 200),
    "gymnast/Blackjack-v1": ("gymnast.envs.native.blackjack:Blackjack", None),
    "gymnast/Catch-v0": ("gymnast.envs.native.catch:Catch", None),
    "gymnast/Memory-v0": ("gymnast.envs.native.memory:Memory", None),
    "gymnast/Chain-v0": ("gymnast.envs.native.chain:Chain", 100),
    "gymnast/DeepSea-v0": ("gymnast.envs.native.deep_sea:DeepSea", None),
    "gymnast/Maze-v0": ("gymnast.envs.native.maze:Maze", 500),
    "gymnast/Reach-v0": ("gymnast.envs.native.reach:Reach", 50),
    "gymnast/MinAtar-Breakout-v1": ("gymnast.envs.native.minatar_breakout:Breakout", None),
    "gymnast/MinAtar-Freeway-v1": ("gymnast.envs.native.minatar_freeway:Freeway", None),
    "gymnast/MinAtar-SpaceInvaders-v1": ("gymnast.envs.native.minatar_space_invaders:SpaceInvaders", None),
    "gymnast/MinAtar-Asterix-v1": ("gymnast.envs.native.minatar_asterix:Asterix", None),
    "gymnast/MinAtar-Seaquest-v1": ("gymnast.envs.native.minatar_seaquest:Seaquest", None),
}
"""The rules and time limit of each device-native id: stepped as tensors, all rows at once."""
NATIVE_OF = {
    "CartPole-v1": "gymnast/CartPole-v1",
    "Acrobot-v1": "gymnast/Acrobot-v1",
    "MountainCar-v0": "gymnast/MountainCar-v0",
    "MountainCarContinuous-v0": "gymnast/MountainCarContinuous-v0",
    "Pendulum-v1": "gymnast/Pendulum-v1",
    "FrozenLake-v1": "gymnast/FrozenLake-v1",
    "FrozenLake8x8-v1": "gymnast/FrozenLake8x8-v1",
    "CliffWalking-v1": "gymnast/CliffWalking-v1",
    "CliffWalkingSlippery-v1": "gymnast/CliffWalkingSlippery-v1",
    "Taxi-v4": "gymnast/Taxi-v4",
    "Blackjack-v1": "gymnast/Blackjack-v1",
    "MinAtar/Breakout-v1": "gymnast/MinAtar-Breakout-v1",
    "MinAtar/Freeway-v1": "gymnast/MinAtar-Freeway-v1",
    "MinAtar/SpaceInvaders-v1": "gymnast/MinAtar-SpaceInvaders-v1",
    "MinAtar/Asterix-v1": "gymnast/MinAtar-Asterix-v1",
    "MinAtar/Seaquest-v1": "gymnast/MinAtar-Seaquest-v1",
}
"""Device-native versions, by the id of the original."""
ATARI = "gymnast/Atari-v1"
"""Atari games on gymnast's own console; the option `game` names one."""
MINATAR = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
"""The games of MinAtar (Young and Tian 2019), whose ids Gymnasium 1.0 and later do not find automatically."""


@dataclass(frozen=True)
class NativeEntry:
    """The vector entry point of a device-native id; torch is imported by the first environment."""

    game: str
    """module:Class of its rules, a `gymnast.envs.native.game.Game`."""

    def __call__(self, num_envs: int = 1, **options: Any) -> NativeVectorEnv:
        from gymnast.envs.native.vector import NativeVectorEnv

        return NativeVectorEnv(self.game, num_envs, **options)


def register_native(
    id: str, game: str, max_episode_steps: int | None = None, *, entry_point: str | None = None
) -> None:
    """Register a device-native environment with Gymnasium: `gymnasium.make_vec(id, num_envs=..., device=...)`.

    `game` is "module:Class" of its rules, `entry_point` that of a single environment with the same id, if any.
    """
    gym.register(id, entry_point=entry_point, vector_entry_point=NativeEntry(game), max_episode_steps=max_episode_steps)


def register() -> None:
    """Register gymnast's ids with Gymnasium; calling it twice is harmless."""
    for id, (entry_point, limit) in OWN.items():
        if id not in gym.registry and id not in NATIVE:
            gym.register(id, entry_point=entry_point, max_episode_steps=limit)
    for id, (game, limit) in NATIVE.items():
        if id not in gym.registry:
            register_native(id, game, limit, entry_point=OWN.get(id, (None, None))[0])
    if ATARI not in gym.registry:
        room = "gymnast.envs.atari2600"
        vector = f"{room}.vector:AtariVectorEnv"
        gym.register(ATARI, f"{room}.single:AtariEnv", max_episode_steps=27_000, vector_entry_point=vector)
    if find_spec("minatar") is None:
        return
    for game in MINATAR:
        id = f"MinAtar/{game.title().replace('_', '')}-v1"
        if id not in gym.registry:
            settings = {"game": game, "use_minimal_action_set": True}  # the meaning of v1; v0 has all six actions
            gym.register(id, entry_point="minatar.gym:BaseEnv", kwargs=settings)
