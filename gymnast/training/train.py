"""Training runs: build all parts from the options, train, and evaluate the kept agent; or resume a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnast.agents.base import LearningError, Planner, ReplayAgent
from gymnast.agents.table import Variant
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError, EnvWarning
from gymnast.envs.factory import EnvLike, full_id
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.rows.spawned import leave_if_imported
from gymnast.errors import RunError, UsageError
from gymnast.networks.build import automatic
from gymnast.networks.layers.images import reading
from gymnast.output.panel import Panel
from gymnast.output.warned import told
from gymnast.settings import agents, emulators, under_protocol
from gymnast.settings.options import TrainOptions
from gymnast.storage import folder, rebuild
from gymnast.storage.last import LastCheckpoint, RunState
from gymnast.training import processes, restoring, tracking
from gymnast.training.callbacks import Callbacks, OnEvaluation, OnStep
from gymnast.training.finish import RunResult, evaluate_kept, leave_files
from gymnast.training.loop import Loop
from gymnast.training.parts import Parts
from gymnast.training.profile_result import PROFILE, Profile
from gymnast.training.profiler import Profiler, check_profile
from gymnast.training.restoring import Restored
from gymnast.training.resumed import Resumed, usage_errors
from gymnast.training.run_log import RunLog
from gymnast.training.session import Session

if TYPE_CHECKING:
    from gymnast.training.crew import Crew


def train(
    agent: str | type[Any] | Variant[Any],
    options: TrainOptions,
    config: Any = None,
    *,
    env: EnvLike | None = None,
    on_evaluation: OnEvaluation | None = None,
    on_step: OnStep | None = None,
    command: Sequence[str] = (),
    presets: Sequence[str] = (),
    reference: str | None = None,
    started: Callable[[], None] = lambda: None,
) -> RunResult:
    """Train an agent and leave a run folder behind, as the command line does.

    `agent` is a name of `gymnast list agents`, `module:Class`, or a class or constructor of `gymnast.agents`; `config`
    its config, by default the plain one. `env` replaces `options.env`: a function that builds a `gym.Env`, or
    a `gym.vector.VectorEnv`, which decides the number of rows (evaluations are then made in `options.env`).
    `on_evaluation` is called with each `Evaluation` during training, and `on_step` with the agent whenever the loop
    pauses for a log, an evaluation or a checkpoint (at least every `options.log_every` env steps); either stops the run
    by returning True. `started` is called once everything is set up; `command`, `presets` and `reference` are only
    recorded in config.json. Raises UsageError (one line) for invalid options before anything starts. Once it runs, it
    always returns: `exit_code` is 0, or 1 if training could not continue, or 128 + the number of the signal that
    stopped it.
    """
    leave_if_imported()
    if isinstance(env, str):  # recorded in config.json as the run's environment
        options, env = dataclasses.replace(options, env=env), None
    with ExitStack() as stack:
        with usage_errors():
            agents.import_backbone(config)
            parts = Parts.make(agent, options, config, env=env, stack=stack)
            check_profile(parts)
            lost = restoring.tried(parts)
            loop, notes = _loop(parts, stack, None)
            path = _new_folder(parts, stack, command=command, presets=presets, reference=reference)
        started()
        return _run(
            parts,
            path,
            loop,
            last=LastCheckpoint(path / "checkpoints"),
            state=None,
            restored=Restored(False, lost),
            notes=notes,
            callbacks=Callbacks(on_evaluation, on_step),
            stack=stack,
        )


def _new_folder(
    parts: Parts, stack: ExitStack, *, command: Sequence[str], presets: Sequence[str], reference: str | None
) -> Path:
    """The run's folder, locked, with its config."""
    options = parts.options
    # Twice, because a new checkpoint is written next to the old one.
    folder.check_space(options.out, 2 * parts.checkpoint_bytes())
    path = folder.create(options.out, env=parts.env.id, agent=parts.name, name=options.name, seed=options.seed)
    stack.enter_context(folder.locked(path))
    folder.write_config(path, parts.config_json(command=command, presets=presets, reference=reference))
    return path


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
) -> RunResult:
    """Resume a run from its last checkpoint, bit for bit as if it had never stopped (on CPU).

    `steps` is the new total, by default the run's own. `env` is the function or the VectorEnv that the run was trained
    in, and required in that case. `trust` allows an agent or environment of code outside gymnast that the run's config
    names. If the environment cannot be restored, the run starts new episodes and reports it, or with `exact_resume` (by
    default the run's own) refuses. `profile`, and `ray`, the cluster of other learners, are by default the run's own.
    `on_evaluation` and `on_step` are those of `train`. Raises UsageError.
    """
    leave_if_imported()
    path = Path(path)
    with ExitStack() as stack:
        with usage_errors():
            changes = {"steps": steps, "device": device, "exact_resume": exact_resume, "profile": profile}
            changes["ray"] = ray
            kept = Resumed.read(path, stack, changes=changes, trust=trust)
            about, state, last = kept.about, kept.state, kept.last
            if state.population:
                raise UsageError(f"{path} is the run of a population, which gymnast.resume and gymnast resume continue")
            restoring.check_env(path, kept.config, about, env)
            made = rebuild.agent_class(about, agent=agent, trust=trust)
            config = rebuild.config_of(about, made, trust=trust)
            parts = Parts.make(made, kept.options, config, env=env, stack=stack, name=about.agent, resumed=True)
            check_profile(parts)
            restoring.check_spaces(about, parts.env)
            rebuild.load_agent(parts.agent, state.agent, last.path, replay=True)
            parts.actor.load_state_dict(state.actor)
            restored = restoring.restore_env(parts, state, stack)
            loop, notes = _loop(parts, stack, state)
            kept.write_config(command)
        callbacks = Callbacks(on_evaluation, on_step)
        return _run(
            parts,
            path,
            loop,
            last=last,
            state=state,
            restored=restored,
            notes=notes,
            callbacks=callbacks,
            stack=stack,
        )


def _run(
    parts: Parts,
    path: Path,
    loop: Loop,
    *,
    last: LastCheckpoint,
    state: RunState | None,
    restored: Restored,
    notes: Sequence[str],
    callbacks: Callbacks,
    stack: ExitStack,
) -> RunResult:
    """Train, from `state` if a run is resumed, then evaluate and film the kept agent."""
    panel = stack.enter_context(Panel(f"{parts.name} on {parts.env.id}  ({path})"))
    stack.enter_context(told(EnvWarning, panel.message))
    _announce(parts, panel)
    for note in (restored.note, *notes):
        if note is not None:
            panel.message(note)
    session = _session(parts, path, loop, last=last, state=state, callbacks=callbacks, panel=panel, stack=stack)
    exit_code, final, outside, profile, files = 1, None, None, None, {"run": path}
    try:
        with session.interrupts:
            if not restored.env:
                session.begin()
            if isinstance(parts.agent, Planner):
                _plan(parts.agent, parts.env, session)
            else:
                profile = _go(session, parts, path)
            if session.interrupts.received is None:
                final, outside = evaluate_kept(parts, path, session)
                files |= leave_files(parts, path, session)
                exit_code = 1 if session.saves.failed else 0
            else:
                exit_code = session.interrupts.exit_code
                panel.message(f"stopped at env step {session.env_step:,}; to continue: gymnast resume {path}")
    except EnvError as error:
        panel.message(str(error))
        again = f"; to continue: gymnast resume {path}" if session.save_after_failure() else ""
        panel.message(f"training stopped at env step {session.env_step:,}{again}")
    except (RunError, LearningError, UsageError) as error:  # a UsageError if best.pt was damaged meanwhile
        panel.message(str(error))
    except KeyboardInterrupt:
        if session.interrupts.received is None:
            raise
        exit_code = session.interrupts.exit_code
        if session.trained:
            panel.message(f"stopped in the final evaluation; to repeat it: gymnast evaluate {path}")
        else:  # a second SIGINT
            panel.message(f"stopped immediately, without a new checkpoint, at env step {session.env_step:,} of {path}")
    finally:
        session.records.writers.close(exit_code)
    if profile is not None:
        files["profile"] = path / PROFILE
    return RunResult(path, exit_code, session.env_step, final, files, outside, profile)


def _go(session: Session, parts: Parts, path: Path) -> Profile | None:
    """Train, and measure where the time goes if the options ask for it."""
    if not parts.options.profile:
        session.go()
        return None
    with Profiler(session.loop, parts.env.device) as profiler:
        session.go()
    profile = profiler.result()
    session.saves.attempt("profile", lambda: profile.write(path), what=PROFILE)
    return profile


def _announce(parts: Parts, panel: Panel) -> None:
    """Report choices that the options do not show."""
    overridden = under_protocol.note(parts.options.protocol, parts.options.env)
    if overridden is not None:
        panel.message(overridden)
    played = emulators.note(parts.options)
    if played is not None:
        panel.message(played if parts.env.host_counts else f"{played}; its consoles are in the GPU's memory")
    if parts.threads is not None:
        panel.message(parts.threads)
    if getattr(parts.config, "network", None) == "auto" and (lines := reading(parts.env.single_observation_space)):
        chosen = automatic(parts.env.single_observation_space)
        panel.message(f"network auto is {chosen}: {'; '.join(lines)}")
    if isinstance(parts.env, NativeEnv) and isinstance(parts.env_like, str) and parts.env.id != full_id(parts.env_like):
        panel.message(f"using the device-native {parts.env.id}; native=False (--no-native) keeps {parts.env_like}")
    if isinstance(parts.agent, ReplayAgent) and parts.agent.replay is not None:
        panel.message(f"the replay takes up to {parts.agent.replay.nbytes / 1e6:,.1f} MB")


def _session(
    parts: Parts,
    path: Path,
    loop: Loop,
    *,
    last: LastCheckpoint,
    state: RunState | None,
    callbacks: Callbacks,
    panel: Panel,
    stack: ExitStack,
) -> Session:
    """The session that trains the parts, from the start or from `state`."""
    if state is not None:
        loop.load_state_dict(state.loop)
    writers = tracking.writers(
        path,
        parts.name,
        parts.options,
        parts.config,
        env_step=loop.env_step,
        state=None if state is None else state.session.writers,
    )
    session = Session(parts, loop, last=last, records=RunLog(path, loop, writers), panel=panel, callbacks=callbacks)
    stack.callback(session.close)
    if state is not None:
        session.restore(state)
    return session


def _loop(parts: Parts, stack: ExitStack, state: RunState | None) -> tuple[Loop, Sequence[str]]:
    """The loop in this process, or one of which other processes take all steps or some; and what to report.

    `state` is what a resumed run continues from. ValueError or UsageError if other processes cannot start.
    """
    if parts.options.learners > 1:
        from gymnast.training.learner_start import learners_loop

        return learners_loop(parts, stack, state)
    if parts.processes is None:
        return Loop(parts.agent, parts.actor, parts.env, overlap=parts.options.overlap), ()
    loop = _asynchronous(parts) if parts.crew is None else _with_crew(parts, parts.crew)
    stack.callback(loop.close)
    return loop, ()


def _asynchronous(parts: Parts) -> Loop:
    """The loop of workers that share this process's memory."""
    from gymnast.training.async_loop import AsyncLoop

    return AsyncLoop(parts)


def _with_crew(parts: Parts, crew: Crew) -> Loop:
    """The loop of processes that are asked for experience, gradients or returns."""
    if parts.processes == "actors":
        from gymnast.training.ape_x_loop import ApeXLoop

        return ApeXLoop(parts, crew)
    if processes.is_search(parts.config):
        from gymnast.training.search_loop import SearchLoop

        return SearchLoop(parts, crew)
    from gymnast.training.gradient_loop import GradientLoop

    return GradientLoop(parts, crew)


def _plan(agent: Planner, env: Env, session: Session) -> None:
    """Planning takes no env step: it sweeps over the environment's known table."""
    table = env.transition_table()
    assert table is not None  # `Parts.make` has checked it
    for number, metrics in enumerate(agent.plan(table), start=1):
        session.records.sweep(number, metrics)
    session.save_last()
