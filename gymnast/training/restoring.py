"""Restoring the environment of a resumed run, and warnings in advance if a run cannot be resumed exactly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from gymnast.agents.base import CuttableAgent
from gymnast.envs.atari.names import is_atari
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.envs.factory import EnvLike
from gymnast.envs.rows.processes import WorkersEnv
from gymnast.envs.rows.serial import SerialEnv
from gymnast.envs.trial import why_not_restored
from gymnast.errors import UsageError, first_line
from gymnast.settings.options import TrainOptions
from gymnast.storage import space_json
from gymnast.storage.checkpoint import About
from gymnast.storage.last import LearnerState, RunState
from gymnast.training.environments import env_options
from gymnast.training.parts import Parts


@dataclass(frozen=True)
class Restored:
    """The outcome of restoring an environment."""

    env: bool
    """Whether the state was restored; otherwise new episodes must begin."""
    note: str | None = None
    """Notes for the user."""


class EnvOwner(Protocol):
    """The holder of a run's environment: its parts."""

    @property
    def options(self) -> TrainOptions: ...

    @property
    def env(self) -> Env: ...

    @property
    def agent(self) -> object: ...

    def rebuild_env(self, stack: ExitStack) -> None:
        """A new environment to replace one in an unknown state."""
        ...


def check_env(path: Path, kept: dict[str, Any], about: About, env: EnvLike | None) -> None:
    """UsageError if a run needs an environment from Python code and got none, or the other way round."""
    own = kept.get("own_env")
    name = about.env if own is None else own["name"]
    # Runs of earlier builds did not record it; the name in their checkpoint is not an id.
    from_code = own is not None or (about.env != kept["run"]["env"] and not _is_id(about.env))
    if from_code and (env is None or isinstance(env, str)):
        kind = "function" if own is None else own["kind"]
        raise UsageError(
            f"{path} was trained in an environment from Python code, the {kind} {name}: resume it from Python with "
            "gymnast.resume(path, env=...)"
        )
    if not from_code and env is not None and env != kept["run"]["env"]:
        raise UsageError(f"{path} was trained in {kept['run']['env']}: env= cannot replace it")


def _is_id(name: str) -> bool:
    return name in gym.registry or is_atari(name)


def check_spaces(about: About, env: Env) -> None:
    """UsageError if the environment's spaces are not those that the run was trained with."""
    for kind, space, trained in (
        ("observations", env.single_observation_space, about.observation_space),
        ("actions", env.single_action_space, about.action_space),
    ):
        if space_json.encode(space) != trained:
            raise UsageError(f"{env.id} has {kind} {space}, but the run was trained with {space_json.decode(trained)}")


def restore_env(parts: EnvOwner, state: RunState | LearnerState, stack: ExitStack) -> Restored:
    """Restore the environment, or else only its persistent state; UsageError with exact_resume."""
    why = "its state is not in the checkpoint"
    if state.env is not None:
        try:
            parts.env.restore(state.env)
        except (ValueError, EnvError, NotImplementedError, KeyError, TypeError) as error:
            why = first_line(error)
            parts.rebuild_env(stack)
        else:
            rows = ", ".join(map(str, parts.env.fresh_rows))
            if not rows:
                return Restored(True)
            note = f"{parts.env.id}: the episodes of row {rows} are too long to be replayed"
            _refuse(parts, note)
            _cut_off(parts, parts.env.fresh_rows)
            return Restored(True, f"{note}: resuming with new episodes in these rows")
    _refuse(parts, f"{parts.env.id} cannot be restored exactly ({why})")
    _cut_off(parts, range(parts.env.num_envs))
    lost = ""
    if state.lasting:
        try:
            parts.env.put_lasting(state.lasting)
        except (ValueError, EnvError, KeyError, TypeError, AttributeError) as error:
            lost = f", and without its statistics of earlier ones ({first_line(error)})"
            parts.rebuild_env(stack)
    return Restored(False, f"{parts.env.id} cannot be restored exactly ({why}): resuming with new episodes{lost}")


def _cut_off(parts: EnvOwner, rows: Sequence[int]) -> None:
    """No n-step return, advantage or trace of the agent may run from a lost episode into a new one."""
    if isinstance(parts.agent, CuttableAgent):
        parts.agent.cut_off(rows)


def _refuse(parts: EnvOwner, why: str) -> None:
    if parts.options.exact_resume:
        raise UsageError(f"exact_resume: {why}; resume with --no-exact-resume to start new episodes")


def tried(parts: Parts) -> str | None:
    """Try in two further environments whether a snapshot restores exactly; a warning if it does not.

    Only for environments that are replayed: the state of the others is saved. ValueError with exact_resume.
    """
    env = parts.env
    why = None if env.exact_resume else "its state can be neither saved nor replayed"
    if env.exact_resume and _may_replay(env):
        why = _trial(parts)
    if why is None or parts.processes:
        return None
    if parts.options.exact_resume:
        raise ValueError(f"exact_resume: {env.id} cannot be restored exactly: {why}")
    note = f"{env.id} cannot be restored exactly: if this run is resumed, it starts new episodes ({why})"
    if env.forgets:
        names = " and ".join(env.forgets)
        note += (
            f", and the statistics of {names} in its processes restart; those of gymnasium.wrappers.vector around "
            "the AsyncVectorEnv are kept"
        )
    return note


def _may_replay(env: Env) -> bool:
    return isinstance(env, WorkersEnv) or (isinstance(env, SerialEnv) and env.rows[0].method == "replay")


def _trial(parts: Parts) -> str | None:
    """The finding; global generators are left unchanged."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - others may use it
    try:
        return why_not_restored(
            parts.env_like, options=env_options(parts.options), max_episode_steps=parts.options.max_episode_steps
        )
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
