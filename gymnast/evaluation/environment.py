"""The environments of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium as gym

from gymnast.atari import protocols
from gymnast.envs.atari.names import is_atari
from gymnast.envs.dreams.adapter import DreamEnv
from gymnast.envs.dreams.names import is_dream
from gymnast.envs.dreams.vector import DreamVectorEnv
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.envs.factory import make, native_id
from gymnast.envs.rows.base import RowsEnv
from gymnast.envs.rows.single import registered_limit
from gymnast.envs.rows.vector import VectorAdapter
from gymnast.settings import under_protocol
from gymnast.storage.world_model import dream_of

STEP_LIMIT = 10_000
"""Time limit of an evaluation episode if the environment has none: a greedy policy may walk in circles forever."""


def time_limit(env: str) -> int:
    """Maximum env steps of an evaluation episode: the id's own limit, else `STEP_LIMIT`."""
    return registered_limit(env) or STEP_LIMIT


def make_env(
    env: str | Callable[[], gym.Env[Any, Any]],
    num_envs: int,
    *,
    device: str = "cpu",
    options: dict[str, Any] | None = None,
    wrappers: Sequence[str] = (),
    max_episode_steps: int | None = None,
    render: bool = False,
    protocol: str | None = None,
    native: bool | None = None,
    frame_stack: int = 1,
    seed: int = 0,
) -> Env:
    """An environment for evaluation: it seeds its episodes, and has a time limit if the id has none.

    `seed` is for episodes that `reset` does not seed. `native`, `wrappers` and `frame_stack` are those of `envs.make`.
    A protocol sets the options of an Atari game; ValueError if the given ones contradict it, and for other games.
    """
    if is_dream(env):
        assert isinstance(env, str)
        _check_dream(env, protocol=protocol, render=render)
        settings: dict[str, Any] = {"max_episode_steps": max_episode_steps, "wrappers": wrappers}
        settings |= {"native": native, "frame_stack": frame_stack}
        return in_dream(dream_of(env, num_envs, device=device, options=options, **settings), seed=seed)
    vectorization, imposed = "auto", False
    if protocol is not None:
        name = env if isinstance(env, str) else "a function"
        options = under_protocol.play(protocols.check(protocol), name, options or {})
    if isinstance(env, str) and not is_atari(env):
        imposed = max_episode_steps is None and registered_limit(env) is None
        max_episode_steps = max_episode_steps or time_limit(env)
        if wrappers or native_id(env, device, native=native) is None:
            vectorization = "serial"  # an id's own vector entry point cannot seed single episodes
    made = make(
        env,
        num_envs,
        device=device,
        vectorization=vectorization,
        options=options,
        wrappers=wrappers,
        max_episode_steps=max_episode_steps,
        render=render,
        native=native,
        frame_stack=frame_stack,
        seed=seed,
    )
    if not isinstance(env, str) and max_episode_steps is None and isinstance(made, RowsEnv):
        imposed = made.impose_limit(STEP_LIMIT)
    made.step_limit = STEP_LIMIT if imposed else None
    return made


def _check_dream(env: str, *, protocol: str | None, render: bool) -> None:
    """Raise ValueError for what an evaluation in a dream cannot do."""
    if protocol is not None:
        raise ValueError(f"protocol {protocol} is for Atari games, and {env} is not one")
    if render:
        raise ValueError(f"{env} has no frames to film; gymnast dream RUN --video films imagined and real episodes")


def in_dream(vector: DreamVectorEnv, *, seed: int = 0) -> Env:
    """A dream for evaluation, with a time limit if the real environment has none."""
    made = make(vector, vector.num_envs, device=vector.device, seed=seed)
    if vector.limit is None:
        made.step_limit = vector.limit = STEP_LIMIT
    return made


@contextmanager
def limited(env: Env) -> Iterator[None]:
    """Give environments without a time limit one inside this context, as `make_env` does."""
    endless = isinstance(env, VectorAdapter) and env.time_limit is None
    if env.step_limit is not None or not (
        endless or (isinstance(env, RowsEnv | DreamEnv) and env.impose_limit(STEP_LIMIT))
    ):
        yield
        return
    env.step_limit = STEP_LIMIT
    try:
        yield
    finally:
        env.step_limit = None
        if isinstance(env, RowsEnv | DreamEnv):
            with suppress(EnvError):  # the worker is gone: the first error is the one to report
                env.impose_limit(None)
