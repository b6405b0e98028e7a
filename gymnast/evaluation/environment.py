"""The environments of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from gymnast.atari import protocols
from gymnast.envs.atari.games import is_atari
from gymnast.envs.env import Env
from gymnast.envs.factory import make, native_id
from gymnast.envs.rows.single import resolve
from gymnast.settings import under_protocol

STEP_LIMIT = 10_000
"""Time limit of an evaluation episode if the environment has none: a greedy policy may walk in circles forever."""


def time_limit(env: str) -> int:
    """Env steps of an evaluation episode at most: the id's own limit, else `STEP_LIMIT`."""
    found = resolve(env)
    return (found.max_episode_steps if isinstance(found, EnvSpec) else None) or STEP_LIMIT


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
) -> Env:
    """An environment for evaluation: it seeds its episodes, and has a time limit if the id has none.

    `native` and `wrappers` are those of `envs.make`.

    A protocol sets the options of an Atari game; ValueError if the given ones contradict it, and for other games.
    """
    vectorization = "auto"
    if protocol is not None:
        options = under_protocol.play(
            protocols.check(protocol), env if isinstance(env, str) else "a function", options or {}
        )
    if not isinstance(env, str):
        max_episode_steps = max_episode_steps or STEP_LIMIT
    elif not is_atari(env):
        max_episode_steps = max_episode_steps or time_limit(env)
        if wrappers or native_id(env, device, native=native) is None:
            vectorization = "serial"  # an id's own vector entry point cannot seed single episodes
    return make(
        env,
        num_envs,
        device=device,
        vectorization=vectorization,
        options=options,
        wrappers=wrappers,
        max_episode_steps=max_episode_steps,
        render=render,
        native=native,
    )
