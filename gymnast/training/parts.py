"""What a run is made of: seeds, device, environment and agent, built and checked before anything starts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch

from gymnast import envs
from gymnast.agents.base import Actor, Agent
from gymnast.atari import protocols
from gymnast.atari.protocols import Protocol
from gymnast.envs.env import Env
from gymnast.evaluation import environment
from gymnast.machine import limit_threads, pick_device
from gymnast.settings import agents, under_protocol
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage import checkpoint, folder
from gymnast.storage.checkpoint import About

EnvLike: TypeAlias = "str | Callable[[], gym.Env[Any, Any]] | gym.vector.VectorEnv[Any, Any, Any]"


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
    env_like: Any

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
        cls = agents.agent_class(agent) if isinstance(agent, str) else agent
        name = name or (agent if isinstance(agent, str) else agents.name_of(cls))
        config = agents.default_config(name) if config is None else config
        if options.protocol is not None and not isinstance(options.env if env is None else env, str):
            raise ValueError(
                f"protocol {options.protocol} is for Atari games given by id, not for a custom environment"
            )
        options, config = under_protocol.resolve(options, config)
        seeds = Seeds.of(options.seed)
        workers = getattr(config, "workers", 0)
        on_host = workers or getattr(cls, "on_host", False)
        device = pick_device("cpu" if on_host and options.device == "auto" else options.device)
        if workers and device != "cpu":
            raise ValueError(f"--device {device} cannot be combined with workers, which share weights in CPU memory")
        limit_threads(options.threads)
        compiled = bool(getattr(config, "compile", False))
        made_env = make_env(
            options, options.env if env is None else env, seed=seeds.env, device=device, compile=compiled
        )
        stack.callback(made_env.close)
        if workers and isinstance(env, gym.vector.VectorEnv):
            raise ValueError("workers need an environment that each can build (an id or a function), not a VectorEnv")
        if workers and (options.exact_resume or options.overlap):
            word = "exact_resume" if options.exact_resume else "overlap"
            raise ValueError(f"{word} cannot be combined with workers, whose steps have no order")
        if options.exact_resume and not made_env.exact_resume:
            raise ValueError(
                f"exact_resume: {made_env.id} cannot be restored exactly; resuming would begin new episodes"
            )
        if options.overlap and not made_env.overlaps:
            raise ValueError(f"overlap: {made_env.id} steps in this process; use vectorization async, or an Atari game")
        torch.manual_seed(seeds.torch)
        made: Agent = cls(
            made_env.single_observation_space,
            made_env.single_action_space,
            config,
            num_envs=options.num_envs,
            device=device,
            seed=seeds.agent,
        )
        if hasattr(made, "plan") and made_env.transition_table() is None:
            raise ValueError(
                f"{name} plans on a known transition table, which {made_env.id} does not have; "
                "FrozenLake-v1, CliffWalking-v1, Taxi and gymnast/Chain-v0 do"
            )
        # Made here because it may ask for memory: a replay that does not fit is said before anything starts.
        actor = made.actor(options.num_envs, explore=True, seed=seeds.actor)
        return Parts(name, options, config, seeds, made_env, made, actor, options.env if env is None else env)

    def checkpoint_bytes(self) -> int:
        """Bytes of a checkpoint to resume from, the files of its replay included, with a replay that is full."""
        replay = getattr(self.agent, "replay", None)
        return _tensor_bytes(self.agent.state_dict()) + (0 if replay is None else int(replay.nbytes))

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

    def eval_env(self, *, rows: int | None = None, render: bool = False) -> Env:
        """A new environment for evaluations; where a VectorEnv is trained in, of the id that the options name."""
        options = self.options
        return environment.make_env(
            options.env if isinstance(self.env_like, gym.vector.VectorEnv) else self.env_like,
            rows or min(options.eval_envs, options.eval_episodes),
            device=str(self.env.device),
            options=env_options(options),
            max_episode_steps=options.max_episode_steps,
            render=render,
            native=None if isinstance(self.env_like, gym.vector.VectorEnv) else options.native,
        )


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
