"""The processes of a run that act or learn for it: how many, and what cannot be combined with them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from gymnast.agents.base import AsynchronousConfig
from gymnast.agents.value.actors import ActorsConfig
from gymnast.envs.factory import EnvLike
from gymnast.settings.options import TrainOptions


def workers_of(config: Any) -> int:
    """Processes that train on shared weights; 0 if this process trains."""
    return config.workers if isinstance(config, AsynchronousConfig) else 0


def actors_of(config: Any) -> int:
    """Processes that act for this one, which learns; 0 if it acts too."""
    return config.actors if isinstance(config, ActorsConfig) else 0


def name_of(config: Any) -> str | None:
    """What the run's processes are called; None if there is only this one."""
    return "workers" if workers_of(config) else "actors" if actors_of(config) else None


def streams_of(config: Any, rows: int) -> int:
    """Rows whose experience the agent learns from, with `rows` in each process."""
    return rows * max(actors_of(config), 1)


def check_device(config: Any, device: str) -> None:
    """ValueError if the processes cannot use the device."""
    if workers_of(config) and device != "cpu":
        raise ValueError(f"device {device} cannot be combined with workers, which share weights in CPU memory")


def check(config: Any, options: TrainOptions, env_like: EnvLike) -> None:
    """ValueError if processes, where there are any, cannot build the environment or keep what the options promise."""
    what = name_of(config)
    if what is None:
        return
    if isinstance(env_like, gym.vector.VectorEnv):
        raise ValueError(
            f"{what} need an environment that each of them can build (an id or a function), not a VectorEnv"
        )
    for word in ("exact_resume", "overlap"):
        if getattr(options, word):
            raise ValueError(f"{word} cannot be combined with {what}, whose steps have no order")
