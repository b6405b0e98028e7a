"""The dreams of a run: its world model, read from a checkpoint, as a vector environment."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gymnast.agents.base import WorldModel
from gymnast.envs.atari.names import is_atari
from gymnast.envs.atari.options import AtariOptions
from gymnast.envs.dreams.names import PREFIX, is_dream
from gymnast.envs.dreams.vector import DreamVectorEnv
from gymnast.envs.rows.single import registered_limit
from gymnast.errors import UsageError, first_line
from gymnast.settings import agents
from gymnast.storage import rebuild
from gymnast.storage.checkpoint import About, find, read_agent
from gymnast.storage.fitted import FIT

OPTIONS = ("temperature", "trust")
"""Options of a dream, as `--env-options` takes them."""
REAL = ("env_options", "wrapper", "max_episode_steps", "frame_stack")
"""Options of a run that say how its environment is made."""


def dream(
    run: str | Path,
    num_envs: int = 1,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    max_episode_steps: int | None = None,
    device: str = "cpu",
    agent: type[Any] | None = None,
    trust: bool = False,
) -> DreamVectorEnv:
    """The environment that a run's agent has learned, as a `gymnasium.vector.VectorEnv` of N imagined episodes.

    `run` is the folder of a run whose agent has a world model (its best checkpoint), or a checkpoint file.
    `temperature` scales the model's randomness (1: as learned; 0: its most likely outcome). Episodes have the real
    environment's time limit, or `max_episode_steps`. `agent` is the class of an agent that is not gymnast's own;
    `trust=True` imports the code that the checkpoint names. Observations, rewards and flags are tensors [N, ...] on
    `device`. Raises UsageError in one line.
    """
    file = find(run)
    about, state = read_agent(file)
    if agent is None and not trust and about.agent != FIT and not agents.is_builtin(about.agent):
        raise UsageError(
            f"the agent {about.agent} of {run} is code from outside gymnast; trust=True runs it "
            """(--env-options '{"trust": true}')"""
        )
    model = rebuild.agent_of(file, about, state, device=device, agent=agent, trust=trust)
    if not isinstance(model, WorldModel):
        raise UsageError(f"{run} was trained with {about.agent}, which learns no world model to dream in")
    try:
        return DreamVectorEnv(
            model,
            num_envs,
            id=f"{PREFIX}{run}",
            seed=seed,
            temperature=temperature,
            max_episode_steps=max_episode_steps or _limit(about, run, trust=trust),
            model_digest=_digest({name: part for name, part in state.items() if name != "replay"}),
            outside=outside_of(about),
        )
    except ValueError as error:
        raise UsageError(f"dream of {run}: {first_line(error)}") from error


def dream_of(
    id: str,
    num_envs: int,
    *,
    device: str,
    options: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    vectorization: str = "auto",
    wrappers: Sequence[str] = (),
    native: bool | None = None,
    frame_stack: int = 1,
) -> DreamVectorEnv:
    """The dream with an id `dream:RUN`; ValueError for settings of other environments, which it does not take."""
    if id == PREFIX:
        raise ValueError(f"env {id} names no run; use {PREFIX}RUN")
    for name, value, is_set in (
        ("vectorization", vectorization, vectorization != "auto"),
        ("wrapper", " ".join(wrappers), bool(wrappers)),
        ("native", native, native is not None),
        ("frame_stack", frame_stack, frame_stack > 1),
    ):
        if is_set:
            raise ValueError(f"{name} {value} cannot be set for {id}, which steps all rows as one")
    given = checked_options(options or {}, id)
    return dream(id.removeprefix(PREFIX), num_envs, device=device, max_episode_steps=max_episode_steps, **given)


def checked_options(options: dict[str, Any], id: str) -> dict[str, Any]:
    """The options of a dream; ValueError for a name or a value that it does not take."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise ValueError(f"env_options of {id}: unknown option {name}; choose from {', '.join(OPTIONS)}")
        if name == "trust" and not isinstance(value, bool):
            raise ValueError(f"env_options of {id}: trust must be true or false, got {value!r}")
        if name == "temperature" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"env_options of {id}: temperature must be a number >= 0, got {value!r}")
    return options


def is_foreign(env: str, env_options: str) -> bool:
    """Whether making an environment with these options (as JSON) runs code from outside gymnast."""
    if is_dream(env):
        return bool(json.loads(env_options or "{}").get("trust"))
    return ":" in env


def outside_of(about: About) -> dict[str, Any]:
    """The real environment of a run, for `About.outside`: its id, and the options with which the run made it."""
    if about.outside is not None:  # the run was itself trained in a dream
        return about.outside
    return {"env": about.env, "run": {name: about.run[name] for name in REAL if name in about.run}}


def _limit(about: About, run: str | Path, *, trust: bool) -> int | None:
    """The time limit of the real environment in env steps; ValueError if only its own code knows it."""
    outside = outside_of(about)
    env: str = outside["env"]
    own: int | None = outside["run"].get("max_episode_steps")
    if is_atari(env):
        options = AtariOptions.from_dict(json.loads(outside["run"].get("env_options") or "{}"))
        frames = math.ceil(options.max_frames / options.frame_skip)
        return frames if own is None else min(own, frames)
    if own is not None or not env:
        return own
    if is_dream(env):
        return None
    if ":" in env and not trust:
        raise ValueError(
            f"its time limit is in the env {env}, code from outside gymnast; trust=True runs it "
            """(--env-options '{"trust": true}'), and max_episode_steps sets another limit"""
        )
    try:
        return registered_limit(env)
    except ValueError as error:
        raise ValueError(f"{first_line(error)}; max_episode_steps sets a time limit without it") from error


def _digest(state: Any, found: int = 0) -> int:
    """A number that the weights of another model hardly share."""
    if isinstance(state, torch.Tensor):
        flat = state.detach().cpu().contiguous().flatten().view(torch.uint8)
        return zlib.crc32(flat.numpy().data, found) if flat.numel() else found
    if isinstance(state, dict):
        for value in state.values():
            found = _digest(value, found)
    elif isinstance(state, list | tuple):
        for value in state:
            found = _digest(value, found)
    return found
