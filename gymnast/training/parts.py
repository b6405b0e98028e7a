"""The parts of a run: seeds, device, environment and agent, built and checked before anything starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.base import (
    Actor,
    Agent,
    CompiledConfig,
    CudaGraphsConfig,
    GoalAgent,
    HostAgent,
    Planner,
    ReplayAgent,
)
from gymnast.agents.optim import together
from gymnast.agents.table import Variant
from gymnast.atari import protocols
from gymnast.atari.protocols import Protocol
from gymnast.envs import imports
from gymnast.envs.atari.names import is_atari
from gymnast.envs.dreams.adapter import DreamEnv
from gymnast.envs.dreams.names import is_dream
from gymnast.envs.env import Env
from gymnast.envs.factory import EnvLike
from gymnast.evaluation import environment
from gymnast.machine import limit_threads, pick_device
from gymnast.settings import agents, emulators, under_protocol
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage import checkpoint, folder
from gymnast.storage.checkpoint import About
from gymnast.tabular.optimal import bandit_regret
from gymnast.training import encoding, environments, learned_rewards, processes, warm_start
from gymnast.training.shares import check_share, own_device
from gymnast.training.threads import Choice, choose

if TYPE_CHECKING:
    from gymnast.training.crew import Crew


@dataclass
class Parts:
    """The parts of a run."""

    name: str
    options: TrainOptions
    config: Any
    seeds: Seeds
    env: Env
    agent: Agent
    actor: Actor
    env_like: EnvLike
    threads: str | None = None
    """Why the run has its number of threads, if that was chosen automatically."""
    learner: int = 0
    """The number of this process among the learners."""
    crew: Crew | None = None
    """The processes that act or play for this one."""

    @staticmethod
    def make(
        agent: str | type[Any] | Variant[Any],
        options: TrainOptions,
        config: Any,
        *,
        env: EnvLike | None,
        stack: ExitStack,
        name: str | None = None,
        resumed: bool = False,
        learner: int = 0,
    ) -> Parts:
        """Build all parts; raises a one-line ValueError for anything that does not match.

        `env` replaces `options.env`, and `name` the agent's own; `stack` closes the environment. The config of a
        resumed run is taken as it is. Of several learners each has its share of the rows.
        """
        cls, name = _named(agent, name)
        config = agents.default_config(name) if config is None else config
        env_like = options.env if env is None else env
        options, config = under_protocol.resolve(_for_env(options, env_like), config)
        options = emulators.resolve(options, resumed=resumed) if isinstance(env_like, str) else options
        if options.init_from is not None and not resumed:
            config = warm_start.with_network_of(config, options.init_from, cls)
        if options.learners > 1:
            check_share(options, env_like)
            together.check(name, cls, config)
        seeds, streams = Seeds.of(options.seed), processes.streams_of(config, options.rows // options.learners)
        device = own_device(_device(cls, config, wanted=options.device), options, learner)
        limit_threads(1 if options.threads == "auto" else options.threads)
        compiled = isinstance(config, CompiledConfig) and config.compile
        recorded = isinstance(config, CudaGraphsConfig) and config.cuda_graphs  # needed before it can be checked
        made_env = environments.make_env(
            options,
            env_like,
            seed=seeds.env,
            device=device,
            compile=compiled,
            check_actions=_is_tried(cls, env_like) and not recorded,
            learner=learner,
        )
        stack.callback(made_env.close)
        _check_env(made_env, env_like, options=options, config=config)
        config, loads = _resolved(config, made_env, options, resumed=resumed)

        def build(config: Any, seed: np.random.SeedSequence) -> Agent:
            made = _agent(cls, config, name=name, env=made_env, num_envs=streams, device=device, seed=seed)
            for load in loads:
                load(made)
            return made

        options, why = _with_threads(options, name, config, made_env, partial(build, seed=np.random.SeedSequence(0)))
        torch.manual_seed(seeds.torch)
        made = build(config, seeds.agent)
        if options.learners > 1 and isinstance(made, together.LearnsTogether):
            together.check_network(made.network)
        # Made here because it allocates memory: a replay that is too large is reported before anything starts.
        actor = made.actor(streams, explore=True, seed=seeds.actor)
        crew = processes.crew_of(config, options, name)
        if crew is not None:
            stack.callback(crew.close)
        return Parts(name, options, config, seeds, made_env, made, actor, env_like, why, learner, crew)

    def checkpoint_bytes(self) -> int:
        """Bytes of a checkpoint to resume from, including the files of a full replay."""
        replay = self.agent.replay if isinstance(self.agent, ReplayAgent) else None
        return self.options.learners * tensor_bytes(self.agent.state_dict()) + (0 if replay is None else replay.nbytes)

    def protocol(self) -> Protocol | None:
        """The protocol actually used; None if it is not an Atari game."""
        return protocols.of(self.env, self.config)

    @property
    def env_name(self) -> str:
        """The name to make the environment again: its id, or for the user's own code a name with the module or file."""
        given = self.env_like
        if isinstance(given, str):
            return given if ":" in given and not is_atari(given) else self.env.id
        return imports.name_of(given) or self.env.id

    def describe(self) -> About:
        return checkpoint.describe(
            self.agent,
            name=self.name,
            config=self.config,
            env=self.env_name,
            run=dataclasses.asdict(self.options),
            versions=folder.versions(),
            protocol=protocols.stamp(self.protocol()),
            outside=self.outside(),
        )

    def outside(self) -> dict[str, Any] | None:
        """The real environment (`About.outside`) if this one is a dream."""
        return self.env.env.outside if isinstance(self.env, DreamEnv) else None

    def config_json(
        self, *, command: Sequence[str], presets: Sequence[str], reference: str | None = None
    ) -> dict[str, Any]:
        return folder.config_json(
            self.name,
            self.config,
            options=self.options,
            protocol=protocols.stamp(self.protocol()),
            presets=presets,
            reference=reference,
            command=command,
            own_env=self.own_env(),
        )

    @property
    def processes(self) -> str | None:
        """What the run calls the processes that act or learn for it, each with its own episodes; None without."""
        return processes.name_of(self.config)

    def own_env(self) -> dict[str, str] | None:
        """A description of the environment, if it came from Python code and not from an id."""
        if isinstance(self.env_like, str):
            return None
        kind = "VectorEnv" if isinstance(self.env_like, gym.vector.VectorEnv) else "function"
        return {"kind": kind, "name": self.env.id}

    def rebuild_env(self, stack: ExitStack) -> None:
        """A new environment to replace one in an unknown state; a given VectorEnv stays the same."""
        if isinstance(self.env_like, gym.vector.VectorEnv):
            return
        self.env.close()
        self.env = environments.make_env(
            self.options,
            self.env_like,
            seed=Seeds.of(self.options.seed).env,
            device=str(self.env.device),
            compile=isinstance(self.config, CompiledConfig) and self.config.compile,
            learner=self.learner,
        )
        stack.callback(self.env.close)
        _give_goals(self.agent, self.env)

    def measured(self) -> dict[str, float]:
        """More numbers for the log, if the environment's true values are known: the regret of a bandit."""
        return bandit_regret(self.agent, self.env)

    def eval_env(self, *, rows: int | None = None, render: bool = False) -> Env:
        """A new environment for evaluations; if training uses a VectorEnv, of the id that the options name.

        Raises EnvError if it cannot be made: the run has begun.
        """
        return environments.for_evaluation(self.options, self.env_like, self.env, rows=rows, render=render)

    def outside_env(self, *, rows: int | None = None, render: bool = False) -> Env:
        """The real environment of this dream, for an evaluation. ValueError or UsageError if it cannot be made."""
        device = str(self.env.device)
        return environments.outside(self.describe(), self.options, device=device, rows=rows, render=render)


def _named(agent: str | type[Any] | Variant[Any], name: str | None) -> tuple[type[Any], str]:
    """The agent's class, and the name of the run's agent."""
    agent = agent.name if isinstance(agent, Variant) else agent
    cls = agents.agent_class(agent) if isinstance(agent, str) else agent
    return cls, name or (agent if isinstance(agent, str) else agents.name_of(cls))


def _resolved(
    config: Any, env: Env, options: TrainOptions, *, resumed: bool
) -> tuple[Any, list[Callable[[Agent], None]]]:
    """The config for the environment, and what a new agent loads: weights to start from, an encoder, learned rewards.

    A resumed agent loads only learned rewards, and its config is as it is.
    """
    loads: list[Callable[[Agent], None]] = []
    if not resumed:
        if getattr(config, "frame_stack", None) == 0:
            config = dataclasses.replace(config, frame_stack=env.frame_stack)
        if options.init_from is not None:
            loads.append(partial(warm_start.start_from, path=options.init_from))
        config, encoder = encoding.resolve(config, env.single_observation_space, env=env.id)
        if encoder is not None:
            loads.append(partial(encoding.load, encoder=encoder))
    config, rewards = learned_rewards.resolve(config, env, resumed=resumed)
    if rewards is not None:
        loads.append(partial(learned_rewards.load, source=rewards))
    return config, loads


def _for_env(options: TrainOptions, env_like: EnvLike) -> TrainOptions:
    """The options with the number of rows, which a VectorEnv decides: ValueError if they contradict it.

    ValueError also for a protocol or an emulator if the environment is given as code.
    """
    for name, value in (("protocol", options.protocol), ("emulator", options.emulator)):
        if value is not None and not isinstance(env_like, str):
            raise ValueError(f"{name} {value} is for Atari games given by id, not for a custom environment")
    rows = env_like.num_envs if isinstance(env_like, gym.vector.VectorEnv) else options.rows
    asked = options.num_envs
    if asked not in (None, rows):
        raise ValueError(f"num_envs {asked} contradicts the VectorEnv, which has {rows} rows; leave num_envs out")
    return dataclasses.replace(options, num_envs=rows)


def _is_tried(cls: type[Any], env_like: EnvLike) -> bool:
    """Whether the agent or the environment is the user's own, so that actions are checked."""
    if cls.__module__.split(".")[0] != "gymnast" or not isinstance(env_like, str):
        return True
    return ":" in env_like and not is_dream(env_like)


def _device(cls: type[Any], config: Any, *, wanted: str) -> str:
    """The device on which the agent learns; ValueError if it cannot."""
    on_host = processes.workers_of(config) or issubclass(cls, HostAgent)
    device = pick_device("cpu" if on_host and wanted == "auto" else wanted)
    processes.check_device(config, device)
    return device


def _check_env(made_env: Env, env_like: EnvLike, *, options: TrainOptions, config: Any) -> None:
    """Raise ValueError if the environment does not support the options."""
    processes.check(config, options, env_like, made_env)
    if isinstance(env_like, gym.vector.VectorEnv):
        _check_evaluations(made_env, options)
    if options.exact_resume and not made_env.exact_resume:
        raise ValueError(f"exact_resume: {made_env.id} cannot be restored exactly; resuming would start new episodes")
    if options.learners > 1 and made_env.skips_rows:
        raise ValueError(
            f"learners need an environment whose rows all step, and {made_env.id} leaves out rows that it resets"
        )
    if options.overlap and not made_env.overlaps:
        raise ValueError(f"overlap: {made_env.id} steps in this process; use vectorization async, or an Atari game")


def _check_evaluations(made_env: Env, options: TrainOptions) -> None:
    """ValueError if the spaces of evaluations differ from those of the VectorEnv used for training."""
    where = f"with a VectorEnv, evaluations use the env named in the options, {options.env!r}"
    try:
        env = environment.make_env(options.env, 1, options=environments.env_options(options))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    try:
        for name in ("single_observation_space", "single_action_space"):
            ours, theirs = getattr(made_env, name), getattr(env, name)
            if type(ours) is not type(theirs) or ours.shape != theirs.shape:
                raise ValueError(f"{where}, whose {name.split('_')[1]}s are {theirs}, not {ours}")
    finally:
        env.close()


def _agent(
    cls: type[Any], config: Any, *, name: str, env: Env, num_envs: int, device: str, seed: np.random.SeedSequence
) -> Agent:
    """The untrained agent; ValueError if it does not match the environment."""
    spaces = env.single_observation_space, env.single_action_space
    made: Agent = cls(*spaces, config, num_envs=num_envs, device=device, seed=seed)
    if isinstance(made, Planner) and env.transition_table() is None:
        raise ValueError(
            f"{name} plans on a known transition table, which {env.id} does not have; "
            "FrozenLake-v1, CliffWalking-v1, Taxi and gymnast/Chain-v0 do"
        )
    _give_goals(made, env)
    return made


def _give_goals(agent: Agent, env: Env) -> None:
    """Hand an agent the environment's rewards for other goals, if it needs them; ValueError if there are none."""
    if not isinstance(agent, GoalAgent) or not agent.needs_goal_rewards:
        return
    rewards = env.goal_rewards()
    if rewards is None:
        raise ValueError(
            f"hindsight needs goals, which {env.id} does not have: observation, achieved_goal and desired_goal in "
            "a Dict, and compute_reward; gymnast/Reach-v0 and those of Gymnasium-Robotics do"
        )
    agent.set_goal_rewards(rewards)


def _with_threads(
    options: TrainOptions, name: str, config: Any, env: Env, build: Callable[[Any], Agent]
) -> tuple[TrainOptions, str | None]:
    """The options with the number of threads that `auto` means for this run, now in use, and why."""
    if options.threads != "auto":
        return options, None
    several = processes.name_of(config) or ("learners" if options.learners > 1 else None)
    alone = Choice(1, f"threads auto is 1: each of the {several} has one")
    choice = alone if several else choose(name, config, env, build)
    limit_threads(choice.threads)
    return dataclasses.replace(options, threads=choice.threads), choice.note


def tensor_bytes(state: Any) -> int:
    """Bytes of all tensors except the `arrays` of a replay, which reports its own size when full."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(tensor_bytes(value) for key, value in state.items() if key != "arrays")
    values = state if isinstance(state, (list, tuple)) else ()
    return sum(tensor_bytes(value) for value in values)
