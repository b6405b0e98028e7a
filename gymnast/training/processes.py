"""The processes of a run that act or learn for it: how many, and what cannot be combined with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym

from gymnast.agents.base import AsynchronousConfig
from gymnast.agents.search.policy_search import PolicySearchConfig
from gymnast.agents.value.actors import ActorsConfig
from gymnast.envs.env import Env
from gymnast.envs.factory import EnvLike
from gymnast.settings.options import TrainOptions

if TYPE_CHECKING:
    from gymnast.training.crew import Crew


def is_search(config: Any) -> bool:
    """Whether workers play the candidates of a policy search."""
    return isinstance(config, PolicySearchConfig) and config.workers > 0


def workers_of(config: Any) -> int:
    """Processes that train on the run's weights or play its candidates; 0 if this process does."""
    return config.workers if isinstance(config, AsynchronousConfig) else 0


def actors_of(config: Any) -> int:
    """Processes that act for this one, which learns; 0 if it acts too."""
    return config.actors if isinstance(config, ActorsConfig) else 0


def name_of(config: Any) -> str | None:
    """What the run's processes are called; None if there is only this one."""
    return "workers" if workers_of(config) else "actors" if actors_of(config) else None


def streams_of(config: Any, rows: int) -> int:
    """Rows whose experience the agent learns from, with `rows` in each process; a search counts one after the other."""
    return 1 if is_search(config) else rows * max(actors_of(config), 1)


def check_device(config: Any, device: str) -> None:
    """ValueError if the processes cannot use the device."""
    if workers_of(config) and device != "cpu":
        why = "act on the CPU" if is_search(config) else "share weights in CPU memory"
        raise ValueError(f"device {device} cannot be combined with workers, which {why}")


def check(config: Any, options: TrainOptions, env_like: EnvLike, env: Env) -> None:
    """ValueError if processes, where there are any, cannot build the environment or keep what the options promise."""
    what = name_of(config)
    if what is None:
        if options.ray is not None and options.learners == 1:
            raise ValueError(f"ray {options.ray} has no effect without learners, actors, workers or seeds")
        return
    if isinstance(env_like, gym.vector.VectorEnv):
        raise ValueError(
            f"{what} need an environment that each of them can build (an id or a function), not a VectorEnv"
        )
    if options.vectorization == "async":
        raise ValueError(f"vectorization async cannot be combined with {what}, which are processes already")
    if options.overlap:
        raise ValueError(f"overlap cannot be combined with {what}, whose steps have no order")
    if is_search(config):
        if not env.seeds_episodes:
            raise ValueError(f"workers need an environment with seeded episodes, which {env.id} does not have")
        return
    if options.exact_resume:
        raise ValueError(f"exact_resume cannot be combined with {what}, whose steps have no order")
    if options.ray is not None and workers_of(config) and config.epochs * config.minibatches > 1:
        raise ValueError("ray needs one update per rollout, epochs 1 and minibatches 1, as a3c has")


def crew_of(config: Any, options: TrainOptions, name: str) -> Crew | None:
    """The processes of a run that are asked for what they do; None without, and if they share this one's memory.

    Raises UsageError if there is no Ray cluster as the options want it.
    """
    what = name_of(config)
    if what is None or (options.ray is None and what == "workers" and not is_search(config)):
        return None
    called = f"{name} {what.removesuffix('s')}"
    if options.ray is None:
        from gymnast.training.crew import LocalCrew

        return LocalCrew(called)
    from gymnast.training.ray_crew import RayCrew

    return RayCrew(called, options.ray, actors_of(config) or workers_of(config))
