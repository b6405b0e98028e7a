"""The environments of a run: to train in, to evaluate in, and outside a dream."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np

from gymnast import envs
from gymnast.envs.dreams.adapter import DreamEnv
from gymnast.envs.dreams.names import is_dream
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.envs.factory import EnvLike
from gymnast.errors import first_line
from gymnast.evaluation import environment, trained
from gymnast.settings.options import TrainOptions
from gymnast.storage.checkpoint import About
from gymnast.storage.world_model import dream_of


def make_env(
    options: TrainOptions,
    env: EnvLike,
    *,
    seed: np.random.SeedSequence,
    device: str,
    compile: bool = False,
    check_actions: bool = False,
    learner: int = 0,
) -> Env:
    """The environments to train in, or a learner's share; `compile` and `check_actions` are those of `envs.make`."""
    if is_dream(env):
        assert isinstance(env, str)
        vector = dream_of(
            env,
            options.rows,
            device=device,
            options=env_options(options),
            max_episode_steps=options.max_episode_steps,
            vectorization=options.vectorization,
            wrappers=options.wrapper,
            native=options.native,
            frame_stack=options.frame_stack,
        )
        return envs.make(vector, options.rows, device=device, seed=seed, check_actions=check_actions)
    rows = options.rows // options.learners
    return envs.make(
        env,
        rows,
        first_row=learner * rows,
        device=device,
        seed=seed,
        vectorization=options.vectorization,
        options=env_options(options),
        wrappers=options.wrapper,
        max_episode_steps=options.max_episode_steps,
        native=options.native,
        compile=compile,
        check_actions=check_actions,
        frame_stack=options.frame_stack,
    )


def env_options(options: TrainOptions) -> dict[str, Any] | None:
    """`--env-options` as the dict that the environment's constructor takes."""
    return json.loads(options.env_options) if options.env_options else None


def for_evaluation(
    options: TrainOptions, env_like: EnvLike, env: Env, *, rows: int | None = None, render: bool = False
) -> Env:
    """A new environment for evaluations of a run that trains in `env`; of the named id if that is a VectorEnv.

    Raises EnvError if it cannot be made: the run has begun.
    """
    rows = rows or min(options.eval_envs, options.eval_episodes)
    if isinstance(env, DreamEnv) and is_dream(env_like):
        return environment.in_dream(env.env.another(rows))
    own = None if isinstance(env_like, gym.vector.VectorEnv) else env_like
    try:
        return environment.make_env(
            own or options.env,
            rows,
            device=str(env.device),
            options=env_options(options),
            wrappers=options.wrapper,
            max_episode_steps=options.max_episode_steps,
            render=render,
            native=None if own is None else options.native,
            frame_stack=options.frame_stack,
        )
    except ValueError as error:
        raise EnvError(first_line(error)) from error


def outside(about: About, options: TrainOptions, *, device: str, rows: int | None = None, render: bool = False) -> Env:
    """The real environment of a run in a dream, for an evaluation. ValueError or UsageError if it cannot be made."""
    real = trained.outside(about)
    trained.check_trusted(real, options.env, trust=(env_options(options) or {}).get("trust", False))
    rows = rows or min(options.eval_envs, options.eval_episodes)
    return trained.settings_of(real).make(real.env, rows, device=device, render=render)
