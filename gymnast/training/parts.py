"""What a run is made of: seeds, device, environment and agent, built and checked before anything starts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast import envs
from gymnast.agents.base import (
    Actor,
    Agent,
    AsynchronousConfig,
    CompiledConfig,
    HostAgent,
    Planner,
    ReplayAgent,
)
from gymnast.atari import protocols
from gymnast.atari.protocols import Protocol
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.envs.factory import EnvLike
from gymnast.errors import first_line
from gymnast.evaluation import environment
from gymnast.machine import limit_threads, pick_device
from gymnast.settings import agents, under_protocol
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage import checkpoint, folder
from gymnast.storage.checkpoint import About
from gymnast.tabular.optimal import bandit_regret


@dataclass
class Parts:
    """What a run is made of."""

    name: str
    options: TrainOptions
    config: Any
    seeds: Seeds
    env: Env
    agent: Agent
    actor: Actor
    env_like: EnvLike

    @staticmethod
    def make(
        agent: str | type[Any],
        options: TrainOptions,
        config: Any,
        *,
        env: EnvLike | None,
        stack: ExitStack,
        name: str | None = None,
    ) -> Parts:
        """Build all parts; ValueError in one line for whatever does not fit.

        `env` takes the place of `options.env`, and `name` that of the agent's own; `stack` closes the environment.
        """
        cls = agents.agent_class(agent) if isinstance(agent, str) else agent
        name = name or (agent if isinstance(agent, str) else agents.name_of(cls))
        config = agents.default_config(name) if config is None else config
        env_like = options.env if env is None else env
        if options.protocol is not None and not isinstance(env_like, str):
            raise ValueError(
                f"protocol {options.protocol} is for Atari games given by id, not for a custom environment"
            )
        options, config = under_protocol.resolve(options, config)
        seeds = Seeds.of(options.seed)
        device = _device(cls, config, wanted=options.device)
        limit_threads(options.threads)
        compiled = isinstance(config, CompiledConfig) and config.compile
        made_env = make_env(options, env_like, seed=seeds.env, device=device, compile=compiled)
        stack.callback(made_env.close)
        _check_env(made_env, env_like, options=options, config=config)
        if isinstance(env_like, gym.vector.VectorEnv):
            _check_evaluation(made_env, options, device=device)
        torch.manual_seed(seeds.torch)
        made = _agent(cls, config, name=name, env=made_env, num_envs=options.num_envs, device=device, seed=seeds.agent)
        # Made here because it may ask for memory: a replay that does not fit is said before anything starts.
        actor = made.actor(options.num_envs, explore=True, seed=seeds.actor)
        return Parts(name, options, config, seeds, made_env, made, actor, env_like)

    def checkpoint_bytes(self) -> int:
        """Bytes of a checkpoint to resume from, the files of its replay included, with a replay that is full."""
        replay = self.agent.replay if isinstance(self.agent, ReplayAgent) else None
        return _tensor_bytes(self.agent.state_dict()) + (0 if replay is None else replay.nbytes)

    def protocol(self) -> Protocol | None:
        """What is really played and learned from; None where it is no Atari game."""
        return protocols.of(self.env, self.config)

    def describe(self) -> About:
        return checkpoint.describe(
            self.agent,
            name=self.name,
            config=self.config,
            env=self.env.id,
            run=dataclasses.asdict(self.options),
            versions=folder.versions(),
            protocol=protocols.stamp(self.protocol()),
        )

    def config_json(self, *, command: Sequence[str], presets: Sequence[str]) -> dict[str, Any]:
        return folder.config_json(
            self.name,
            self.config,
            options=self.options,
            protocol=protocols.stamp(self.protocol()),
            presets=presets,
            command=command,
            own_env=self.own_env(),
        )

    @property
    def workers(self) -> int:
        """Processes that train on shared weights, each of which begins episodes of its own; 0 without."""
        return _workers(self.config)

    def own_env(self) -> dict[str, str] | None:
        """What the environment was, where it came from Python code and not from an id."""
        if isinstance(self.env_like, str):
            return None
        kind = "VectorEnv" if isinstance(self.env_like, gym.vector.VectorEnv) else "function"
        return {"kind": kind, "name": self.env.id}

    def rebuild_env(self, stack: ExitStack) -> None:
        """A new environment in place of one that is in an unknown state; a VectorEnv stays the one that was given."""
        if isinstance(self.env_like, gym.vector.VectorEnv):
            return
        self.env.close()
        self.env = make_env(
            self.options,
            self.env_like,
            seed=Seeds.of(self.options.seed).env,
            device=str(self.env.device),
            compile=isinstance(self.config, CompiledConfig) and self.config.compile,
        )
        stack.callback(self.env.close)

    def measured(self) -> dict[str, float]:
        """More numbers for the log, where the truth about the environment is known: the regret of a bandit."""
        return bandit_regret(self.agent, self.env)

    def eval_env(self, *, rows: int | None = None, render: bool = False) -> Env:
        """A new environment for evaluations; where a VectorEnv is trained in, of the id that the options name.

        Raises EnvError where it cannot be made: the run has begun.
        """
        options = self.options
        try:
            return environment.make_env(
                options.env if isinstance(self.env_like, gym.vector.VectorEnv) else self.env_like,
                rows or min(options.eval_envs, options.eval_episodes),
                device=str(self.env.device),
                options=env_options(options),
                max_episode_steps=options.max_episode_steps,
                render=render,
                native=None if isinstance(self.env_like, gym.vector.VectorEnv) else options.native,
            )
        except ValueError as error:
            raise EnvError(first_line(error)) from error


def _device(cls: type[Any], config: Any, *, wanted: str) -> str:
    """Where the agent learns; ValueError where it cannot."""
    workers = _workers(config)
    on_host = workers or issubclass(cls, HostAgent)
    device = pick_device("cpu" if on_host and wanted == "auto" else wanted)
    if workers and device != "cpu":
        raise ValueError(f"--device {device} cannot be combined with workers, which share weights in CPU memory")
    return device


def _check_env(made_env: Env, env_like: EnvLike, *, options: TrainOptions, config: Any) -> None:
    """ValueError where the environment cannot do what the options ask of it."""
    workers = _workers(config)
    if workers and isinstance(env_like, gym.vector.VectorEnv):
        raise ValueError("workers need an environment that each can build (an id or a function), not a VectorEnv")
    if workers and (options.exact_resume or options.overlap):
        word = "exact_resume" if options.exact_resume else "overlap"
        raise ValueError(f"{word} cannot be combined with workers, whose steps have no order")
    if options.exact_resume and not made_env.exact_resume:
        raise ValueError(f"exact_resume: {made_env.id} cannot be restored exactly; resuming would begin new episodes")
    if options.overlap and not made_env.overlaps:
        raise ValueError(f"overlap: {made_env.id} steps in this process; use vectorization async, or an Atari game")


def _check_evaluation(made_env: Env, options: TrainOptions, *, device: str) -> None:
    """ValueError where the id in which a VectorEnv's agent is evaluated has other observations or actions."""
    other = environment.make_env(options.env, 1, device=device, options=env_options(options))
    other.close()
    for kind, ours, theirs in (
        ("observations", made_env.single_observation_space, other.single_observation_space),
        ("actions", made_env.single_action_space, other.single_action_space),
    ):
        if type(ours) is not type(theirs) or gym.spaces.flatdim(ours) != gym.spaces.flatdim(theirs):
            raise ValueError(
                f"env {options.env}, in which the agent of {made_env.id} is evaluated, has {kind} {theirs}, "
                f"and {made_env.id} has {ours}"
            )


def _agent(
    cls: type[Any], config: Any, *, name: str, env: Env, num_envs: int, device: str, seed: np.random.SeedSequence
) -> Agent:
    """The untrained agent; ValueError where it does not fit the environment."""
    spaces = env.single_observation_space, env.single_action_space
    made: Agent = cls(*spaces, config, num_envs=num_envs, device=device, seed=seed)
    if isinstance(made, Planner) and env.transition_table() is None:
        raise ValueError(
            f"{name} plans on a known transition table, which {env.id} does not have; "
            "FrozenLake-v1, CliffWalking-v1, Taxi and gymnast/Chain-v0 do"
        )
    return made


def _workers(config: Any) -> int:
    """Processes that train on shared weights; 0 where this process trains."""
    return config.workers if isinstance(config, AsynchronousConfig) else 0


def _tensor_bytes(state: Any) -> int:
    """Bytes of all tensors but the `arrays` of a replay, of which it says itself what they take when it is full."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(_tensor_bytes(value) for key, value in state.items() if key != "arrays")
    values = state if isinstance(state, (list, tuple)) else ()
    return sum(_tensor_bytes(value) for value in values)


def make_env(
    options: TrainOptions, env: EnvLike, *, seed: np.random.SeedSequence, device: str, compile: bool = False
) -> Env:
    """The environments that a run is trained in; `compile` is that of `envs.make`."""
    return envs.make(
        env,
        options.num_envs,
        device=device,
        seed=seed,
        vectorization=options.vectorization,
        options=env_options(options),
        max_episode_steps=options.max_episode_steps,
        native=options.native,
        compile=compile,
    )


def env_options(options: TrainOptions) -> dict[str, Any] | None:
    """`--env-options` as the dict that the environment's constructor takes."""
    return json.loads(options.env_options) if options.env_options else None
