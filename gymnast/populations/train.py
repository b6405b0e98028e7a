"""Training a population: many agents at once on one device, each as in its own single run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gymnast.agents.base import Actor, ReplayAgent
from gymnast.agents.population.base import Population
from gymnast.agents.population.kinds import KINDS
from gymnast.envs.factory import EnvLike
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.rows.spawned import leave_if_imported
from gymnast.errors import RunError, UsageError
from gymnast.machine import limit_threads, pick_device
from gymnast.output.panel import Panel
from gymnast.populations.environment import noise_of, training_env
from gymnast.populations.files import Members
from gymnast.populations.finish import evaluate_kept
from gymnast.populations.log import PopulationLog
from gymnast.populations.session import PopulationSession
from gymnast.settings import agents
from gymnast.settings.options import PopulationOptions, TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage import folder, rebuild
from gymnast.storage.last import LastCheckpoint, RunState
from gymnast.training import restoring, tracking
from gymnast.training import train as single
from gymnast.training.callbacks import OnEvaluation, OnStep
from gymnast.training.finish import RunResult
from gymnast.training.loop import Loop
from gymnast.training.parts import tensor_bytes
from gymnast.training.resumed import Resumed, usage_errors
from gymnast.training.rollout_loop import RolloutAgent

SMALL_FIELDS = 64
"""Bytes of a row in a step of a rollout, without observations: a vector of actions, a mask, and numbers."""


@dataclass(frozen=True)
class PopulationResult:
    """How the run of a population ended."""

    path: Path
    exit_code: int
    env_step: int
    """Of each member."""
    returns: tuple[float, ...] = ()
    """Mean return of each member's kept policy on its own test seeds; empty after an interruption."""
    lines: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)

    def as_text(self) -> str:
        """The table over the members, and the paths of all files."""
        return "\n".join([*self.lines, *(f"{name:<12}{path}" for name, path in self.files.items())])


@dataclass
class _Parts:
    agent: str
    options: TrainOptions
    seeds: Sequence[int]
    streams: Sequence[Seeds]
    env: NativeEnv
    population: Population
    actor: Actor

    def rebuild_env(self, stack: ExitStack) -> None:
        """A new environment to replace one in an unknown state."""
        self.env.close()
        compile = self.population.config.compile
        self.env = training_env(self.options, self.streams, device=str(self.env.device), compile=compile)
        stack.callback(self.env.close)

    def checkpoint_bytes(self) -> int:
        """Largest total size in bytes of last.pt and members.pt during a run.

        The initial state grows by two moments of the optimizer, the kept weights (in both files), and a full
        rollout or replay.
        """
        population = self.population
        state = [population.state_dict(), self.actor.state_dict(), self.env.snapshot()]
        stored = 0
        if isinstance(population, RolloutAgent):
            step = 2 * tensor_bytes(self.env.obs) + SMALL_FIELDS * self.env.num_envs
            stored += population.rollout.steps * step
        if isinstance(population, ReplayAgent) and population.replay is not None:
            stored += population.replay.nbytes
        return tensor_bytes(state) + 4 * tensor_bytes(population.weights()) + stored


def train(
    agent: str,
    options: TrainOptions,
    config: Any = None,
    *,
    seeds: Sequence[int],
    vary: Mapping[str, Sequence[float]] | None = None,
    given: PopulationOptions | None = None,
    command: Sequence[str] = (),
    presets: Sequence[str] = (),
    reference: str | None = None,
    started: Callable[[], None] = lambda: None,
) -> PopulationResult:
    """Train an agent for each seed, all at once, and leave one run folder, as `gymnast train --seeds` does.

    `options.steps`, `num_envs` and every period are those of each member; `vary` gives the numbers of settings that
    differ, and `given` is how seeds and settings were written. Raises UsageError (one line) for invalid options before
    anything starts; `exit_code` is like that of `gymnast.train`.
    """
    leave_if_imported()
    with ExitStack() as stack:
        with usage_errors():
            if options.profile:
                raise ValueError("profile cannot be combined with seeds: the members of a population share their time")
            parts = _parts(agent, options, config, seeds=seeds, vary=vary or {}, stack=stack)
            # Twice, because new files are written next to the old ones.
            folder.check_space(options.out, 2 * parts.checkpoint_bytes())
            name = options.name or f"seeds{seeds[0]}-{seeds[-1] + 1}-{time.strftime('%Y%m%d-%H%M%S')}"
            path = folder.create(options.out, env=parts.env.id, agent=agent, name=name, seed=seeds[0])
            stack.enter_context(folder.locked(path))
            written = given or PopulationOptions()
            config_json = folder.config_json(
                agent,
                parts.population.config,
                options=options,
                population={"seeds": _named(seeds), "vary": list(written.vary), "vary_zip": list(written.vary_zip)},
                presets=presets,
                reference=reference,
                command=command,
            )
            folder.write_config(path, config_json)
        started()
        last = LastCheckpoint(path / "checkpoints")
        return _run(parts, path, last=last, state=None, note=None, stack=stack)


def resume(
    path: str | Path,
    *,
    steps: int | None = None,
    device: str | None = None,
    agent: type[Any] | None = None,
    env: EnvLike | None = None,
    trust: bool = False,
    exact_resume: bool | None = None,
    profile: bool | None = None,
    ray: str | None = None,
    on_evaluation: OnEvaluation | None = None,
    on_step: OnStep | None = None,
    command: Sequence[str] = (),
) -> RunResult | PopulationResult:
    """Resume a run, of one agent or of a population, from its last checkpoint, bit for bit (on CPU).

    `steps` is the new total (of each member), by default the run's own. `trust` allows an agent or environment of code
    outside gymnast that the run's config names. If the environment cannot be restored, the run starts new episodes and
    reports it, or with `exact_resume` (by default the run's own) refuses. A run of one agent takes `agent`, its
    class if that is not one of gymnast's; `env`, the function or the VectorEnv that it was trained in, then
    required; `profile` and `ray` (by default the run's own); and `on_evaluation` and `on_step`, which are those of
    `train`. Raises UsageError.
    """
    path = Path(path)
    if folder.read_config(path).get("population") is None:
        return single.resume(
            path,
            steps=steps,
            device=device,
            agent=agent,
            env=env,
            trust=trust,
            exact_resume=exact_resume,
            profile=profile,
            ray=ray,
            on_evaluation=on_evaluation,
            on_step=on_step,
            command=command,
        )
    single_only = {"agent": agent, "env": env, "on_evaluation": on_evaluation, "on_step": on_step, "profile": profile}
    single_only["ray"] = ray
    for name, value in single_only.items():
        if value is not None:
            raise UsageError(f"{name} cannot be given for the run of a population, {path}")
    with ExitStack() as stack:
        with usage_errors():
            changes = {"steps": steps, "device": device, "exact_resume": exact_resume}
            kept = Resumed.read(path, stack, changes=changes, trust=trust)
            parts = _resumed_parts(kept, trust=trust, stack=stack)
            restored = restoring.restore_env(parts, kept.state, stack)
            kept.write_config(command)
        return _run(parts, path, last=kept.last, state=kept.state, note=restored.note, stack=stack)


def _resumed_parts(kept: Resumed, *, trust: bool, stack: ExitStack) -> _Parts:
    """The parts of a population as its last checkpoint has them, except the environment; UsageError."""
    about, own, file = kept.about, kept.state.population, kept.last.path
    if not own:
        raise UsageError(f"{file} does not hold a population")
    named = kept.config["population"]["seeds"]
    if _named(own["seeds"]) != named:
        raise UsageError(f"{file} has members of the seeds {_named(own['seeds'])}, but config.json has {named}")
    config = rebuild.config_of(about, rebuild.agent_class(about, trust=trust), trust=trust)
    parts = _parts(about.agent, kept.options, config, seeds=own["seeds"], vary=own["vary"], stack=stack)
    restoring.check_spaces(about, parts.env)
    rebuild.load_agent(parts.population, kept.state.agent, file, replay=True)
    parts.actor.load_state_dict(kept.state.actor)
    return parts


def _named(seeds: Sequence[int]) -> str:
    """Seeds as in config.json: A:B, or a list if they are not consecutive."""
    first, end = seeds[0], seeds[-1] + 1
    return f"{first}:{end}" if list(seeds) == list(range(first, end)) else ",".join(map(str, seeds))


def _parts(
    agent: str,
    options: TrainOptions,
    config: Any,
    *,
    seeds: Sequence[int],
    vary: Mapping[str, Sequence[float]],
    stack: ExitStack,
) -> _Parts:
    config = agents.default_config(agent) if config is None else config
    device = pick_device(options.device)
    if options.threads == "auto":
        raise ValueError("threads auto measures the updates of a single agent; give a population a number of threads")
    limit_threads(options.threads)
    streams = [Seeds.of(seed) for seed in seeds]
    env = training_env(options, streams, device=device, compile=config.compile)
    stack.callback(env.close)
    torch.manual_seed(streams[0].torch)  # layers draw from it before their members' own numbers replace theirs
    population = KINDS[type(config)](
        env.single_observation_space,
        env.single_action_space,
        config,
        seeds=[stream.agent for stream in streams],
        num_envs=options.rows,
        vary=vary,
        device=device,
        noise=noise_of(device),
    )
    actor = population.actor(env.num_envs, explore=True, seed=[stream.actor for stream in streams])
    return _Parts(agent, options, seeds, streams, env, population, actor)


def _run(
    parts: _Parts, path: Path, *, last: LastCheckpoint, state: RunState | None, note: str | None, stack: ExitStack
) -> PopulationResult:
    """Train, from `state` if a run is resumed, then test the kept members."""
    population = parts.population
    title = f"{population.members:,} x {parts.agent} on {parts.env.id}  ({path})"
    panel = stack.enter_context(Panel(title))
    if note is not None:
        panel.message(note)
    session = _session(parts, path, last=last, state=state, panel=panel, stack=stack)
    exit_code, returns, lines = 1, tuple[float, ...](), tuple[str, ...]()
    files = {"run": path, "members": path / "members.csv", "checkpoint": path / "checkpoints" / "best.pt"}
    try:
        with session.interrupts:
            session.go()
            exit_code = session.interrupts.exit_code
            if not exit_code:
                returns, lines = evaluate_kept(session)
                exit_code = 1 if session.saves.failed else 0
            else:
                stopped = f"stopped at env step {population.member_step:,} of each member"
                panel.message(f"{stopped}; to continue: gymnast resume {path}")
    except RunError as error:
        panel.message(str(error))
    except KeyboardInterrupt:
        if session.interrupts.received is None:
            raise
        exit_code = session.interrupts.exit_code
        if session.trained:
            panel.message(f"stopped in the final evaluation; to repeat it: gymnast resume {path}")
        else:  # a second SIGINT
            stopped = f"stopped immediately, without a new checkpoint, at env step {population.member_step:,}"
            panel.message(f"{stopped} of each member of {path}")
    finally:
        session.records.writers.close(exit_code)
    there = {name: file for name, file in files.items() if file.exists()}
    return PopulationResult(path, exit_code, population.member_step, returns, lines, there)


def _session(
    parts: _Parts, path: Path, *, last: LastCheckpoint, state: RunState | None, panel: Panel, stack: ExitStack
) -> PopulationSession:
    """The session that trains the members, from the start or from `state`."""
    population, options = parts.population, parts.options
    loop = Loop(population, parts.actor, parts.env)
    if state is not None:
        loop.load_state_dict(state.loop)
    writers = tracking.writers(
        path,
        parts.agent,
        options,
        population.config,
        more={"seeds": _named(parts.seeds), "vary": dict(population.vary)},
        env_step=population.member_step,
        state=None if state is None else state.session.writers,
    )
    env = options.env if ":" in options.env else parts.env.id  # the name to make it again
    members = Members(path, parts.agent, env, options, population, parts.seeds)
    records = PopulationLog(path, writers)
    session = PopulationSession(members, options, loop, seeds=parts.streams, last=last, records=records, panel=panel)
    stack.callback(session.close)
    if state is not None:
        session.restore(state)
    return session
