"""The environment of a trained agent, from its checkpoint's description."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from gymnast.atari import protocols
from gymnast.envs.env import Env
from gymnast.errors import UsageError, first_line
from gymnast.evaluation.environment import make_env
from gymnast.settings import emulators
from gymnast.storage.checkpoint import About
from gymnast.storage.world_model import is_foreign


def outside(about: About) -> About:
    """The description with the real environment, and its options, in place of a dream; others stay as they are."""
    if about.outside is None:
        return about
    return dataclasses.replace(about, env=about.outside["env"], run={**about.run, **about.outside["run"]})


def check_trusted(about: About, file: object, *, trust: bool) -> None:
    """UsageError if the checkpoint names no environment, or one from outside gymnast that is not trusted."""
    if not about.env:
        raise UsageError(f"{file} names no environment; write it with gymnast.save(agent, path, env=ID)")
    if not trust and is_foreign(about.env, about.run.get("env_options") or ""):
        raise UsageError(f"the env {about.env} is code from outside gymnast; pass --trust to run it")


def why(error: Exception, about: About) -> str:
    """The message if an environment cannot be built; one that a script passed as a function has no name."""
    text = first_line(error)
    if text.startswith("unknown environment") and about.env != about.run.get("env"):
        return (
            f"the run was trained in {about.env}, an environment that its script passed as an object: "
            "evaluate it there, with gymnast.evaluate(gymnast.load(path), function)"
        )
    return text


@dataclass(frozen=True)
class EnvSettings:
    """How an environment is made, besides its id."""

    options: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    max_episode_steps: int | None = None
    frame_stack: int = 1

    def make(
        self, env: str, rows: int, *, device: str, render: bool = False, protocol: str | None = None, seed: int = 0
    ) -> Env:
        """The environment for an evaluation; ValueError if it cannot be made."""
        return make_env(
            env,
            rows,
            device=device,
            options=self.options,
            wrappers=self.wrappers,
            max_episode_steps=self.max_episode_steps,
            render=render,
            protocol=protocol,
            frame_stack=self.frame_stack,
            seed=seed,
        )


def settings_of(about: About, *, protocol: str | None = None, emulator: str | None = None) -> EnvSettings:
    """The settings of the environment that the run trained in, without those that a protocol decides.

    `emulator` replaces the run's own; ValueError if it does not play the environment.
    """
    options, limit = json.loads(about.run.get("env_options") or "{}"), about.run.get("max_episode_steps")
    if protocol is not None:
        options, limit = {name: value for name, value in options.items() if name not in protocols.PLAYED}, None
    if emulator is not None:
        options = emulators.chosen(about.env, {**options, "emulator": emulator}, emulator)
    return EnvSettings(options, tuple(about.run.get("wrapper") or ()), limit, about.run.get("frame_stack", 1))
