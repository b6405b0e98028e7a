"""`gymnast check-env`: the findings of `gymnast.envs.check`, and the agents that support the environment."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from gymnast.agents.base import Planner
from gymnast.envs.env import Env
from gymnast.envs.factory import full_id, make
from gymnast.envs.trial import Checked, Finding, check
from gymnast.errors import UsageError, first_line
from gymnast.networks.build import automatic
from gymnast.networks.layers.images import reading
from gymnast.settings import agents
from gymnast.settings.options import CheckEnvOptions

REPLAY = 100
"""Slots of a replay that is never filled."""


def check_env(options: CheckEnvOptions) -> Checked:
    """Try an environment; UsageError if it does not exist."""
    try:
        full_id(options.env)
    except ValueError as error:
        raise UsageError(first_line(error)) from error
    given = json.loads(options.env_options) if options.env_options else None
    found = check(options.env, steps=options.steps, seed=options.seed, options=given)
    if not found.ok:
        return found
    env = make(options.env, seed=options.seed, options=given)
    try:
        return Checked((*found.findings, _backbone(env), _agents(env)))
    finally:
        env.close()


def _backbone(env: Env) -> Finding:
    """The backbone that `auto` selects, and how it reads parts that look like images."""
    text = "; ".join([f"auto is {automatic(env.single_observation_space)}", *reading(env.single_observation_space)])
    return Finding("network", "ok", text)


def _agents(env: Env) -> Finding:
    """The agents that support the spaces with their default settings."""
    fitting = [name for name in agents.AGENTS if _fits(name, env)]
    if not fitting:
        return Finding("agents", "note", "no built-in agent supports these spaces")
    return Finding("agents", "ok", ", ".join(fitting))


def _fits(name: str, env: Env) -> bool:
    cls: type[Any] = agents.agent_class(name)
    config = agents.default_config(name)
    if hasattr(config, "replay_size"):
        config = dataclasses.replace(config, replay_size=REPLAY, learning_starts=0)
    try:
        made = cls(env.single_observation_space, env.single_action_space, config, num_envs=1, device="cpu", seed=0)
    except ValueError:
        return False
    return not isinstance(made, Planner) or env.transition_table() is not None
