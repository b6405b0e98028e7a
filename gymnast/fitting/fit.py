"""Fitting runs: build all parts from the options, fit, and measure the kept network; or resume a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS, config_class
from gymnast.envs.errors import EnvError
from gymnast.errors import RunError, UsageError, first_line, nearest
from gymnast.evaluation import play, trained
from gymnast.fitting import pictures
from gymnast.fitting import state as last_state
from gymnast.fitting.latent_probe import accuracies
from gymnast.fitting.measured import measured
from gymnast.fitting.parts import Parts, load_kept
from gymnast.fitting.session import FitSession
from gymnast.fitting.state import FitState
from gymnast.output.panel import Panel
from gymnast.replay.datasets.digest import digest
from gymnast.settings import agents
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage import checkpoint, folder, metrics_log, rebuild
from gymnast.training import tracking
from gymnast.training.parts import tensor_bytes
from gymnast.training.resumed import usage_errors


@dataclass(frozen=True)
class FitResult:
    """How a run ended."""

    path: Path
    exit_code: int
    updates: int
    measures: dict[str, float] | None
    """Of the kept network on the test examples; None after an interruption."""
    files: dict[str, Path] = field(default_factory=dict)
    """Files of the run by name."""

    def as_text(self) -> str:
        """The measures, and the paths of all files."""
        lines = [] if self.measures is None else [as_text(self.measures)]
        width = max([12, *(len(name) + 2 for name in self.files)])
        return "\n".join([*lines, *(f"{name:<{width}}{path}" for name, path in self.files.items())])


def as_text(measures: dict[str, float]) -> str:
    """Measures by name in one line."""
    return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measures.items())


def fit(
    task: str,
    options: FitOptions,
    config: FitConfig | None = None,
    *,
    command: Sequence[str] = (),
    started: Callable[[], None] = lambda: None,
) -> FitResult:
    """Fit a network to data and leave a run folder behind, as the command line does.

    `task` is a name of `gymnast fit --help`, and `config` its config, by default the plain one. `started` is called
    once everything is set up. Raises UsageError (one line) for invalid options before anything starts. Once it runs,
    it always returns: `exit_code` is 0, or 1 if it could not continue, or 128 + the number of the signal that
    stopped it.
    """
    with ExitStack() as stack:
        with usage_errors():
            if task not in TASKS:
                raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}{nearest(task, TASKS)}")
            config = config_class(task)() if config is None else config
            agents.import_backbone(config)
            folder.check_name(options.out, env=options.dataset or options.env, agent=task, name=options.name)
            parts = Parts.make(task, options, config)
            needed = 4 * tensor_bytes(parts.task.network.state_dict())
            folder.check_space(options.out, needed)
            path = folder.create(options.out, env=parts.about_data, agent=task, name=options.name, seed=options.seed)
            stack.enter_context(folder.locked(path))
            folder.write_config(path, parts.config_json(command))
        started()
        return _run(parts, path, state=None, stack=stack)


def resume(
    path: str | Path,
    *,
    epochs: int | None = None,
    device: str | None = None,
    trust: bool = False,
    command: Sequence[str] = (),
) -> FitResult:
    """Resume a run from its last checkpoint, bit for bit as if it had never stopped (on CPU).

    `epochs` is the new total, by default the run's own. Raises UsageError.
    """
    path = Path(path)
    with ExitStack() as stack:
        with usage_errors():
            kept = folder.read_config(path)
            stack.enter_context(folder.locked(path))
            changes = {"epochs": epochs, "device": device, "trust": trust}  # config.json may not say what is trusted
            options = options_of(kept, changes={key: value for key, value in changes.items() if value is not None})
            _, state = last_state.read(path / "checkpoints" / "last.pt")
            parts = parts_of(kept, options, trust=trust)
            _check_goes_on(path, parts, state, before=options_of(kept))
            parts.restore(state)
            record = {"update": state.updates, "command": list(command)}
            run = {**kept, "run": dataclasses.asdict(options), "resumed": [*kept.get("resumed", []), record]}
            folder.write_config(path, run)
        return _run(parts, path, state=state, stack=stack)


def _check_goes_on(path: Path, parts: Parts, state: FitState, *, before: FitOptions) -> None:
    """ValueError if nothing is left to do, or if more epochs do not fit the run."""
    options, schedule = parts.options, parts.config.schedule
    if parts.total < state.updates:
        raise ValueError(f"epochs must be at least {state.epoch + bool(state.position)}, which {path} has begun")
    if options.epochs != before.epochs and any(made.schedule.spans_run for made in parts.optimisations):
        raise ValueError(f"epochs of {path} cannot change: its schedule {schedule} ends with the last of them")
    if not _has_final(path):
        return
    if options.patience and state.since_best >= options.patience:
        raise ValueError(f"{path} has finished: {state.since_best:,} evaluations in a row were no better (patience)")
    if options.updates is not None and state.updates >= options.updates:
        raise ValueError(f"{path} has finished its {options.updates:,} updates")
    if state.updates >= parts.total:
        raise ValueError(f"{path} has finished its {parts.epochs:,} epochs; --epochs with a larger number goes on")


def parts_of(kept: dict[str, Any], options: FitOptions, *, trust: bool) -> Parts:
    """The parts of a run from its config, with these options; ValueError if its data are no longer the same."""
    about = kept.get("data", {})
    parts = Parts.make(kept["task"], options, config_of(kept, trust=trust), known=about.get("name"))
    if about and about["digest"] != digest(parts.data):
        raise ValueError(f"the data set {about['name']} has changed since the run was fitted to it")
    return parts


def options_of(kept: dict[str, Any], *, changes: dict[str, Any] | None = None) -> FitOptions:
    """The options in the config of a run."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in kept["run"].items()}
    try:
        return FitOptions(**{**values, **(changes or {})})
    except TypeError as error:
        raise UsageError(f"the run's config does not match this version of gymnast: {error}") from None


def config_of(kept: dict[str, Any], *, trust: bool = False) -> FitConfig:
    """The task's config in the config of a run."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in kept["config"].items()
    }
    try:
        config = config_class(kept["task"])(**values)
    except (KeyError, TypeError) as error:
        raise UsageError(f"the run's config does not match this version of gymnast: {error}") from None
    if trust:
        agents.import_backbone(config)
    return config


def _has_final(path: Path) -> bool:
    record = metrics_log.last_record(path / "metrics.jsonl")
    return record is not None and record["kind"] == "final"


def _run(parts: Parts, path: Path, *, state: FitState | None, stack: ExitStack) -> FitResult:
    """Fit, from `state` if a run is resumed, then measure the kept network."""
    panel = stack.enter_context(Panel(f"{parts.name} on {parts.about_data}  ({path})"))
    writers = tracking.writers(
        path,
        parts.name,
        parts.options,
        parts.config,
        env_step=0 if state is None else state.updates,
        state=None if state is None else state.writers,
        axis="update",
    )
    session = FitSession(parts, path, panel=panel, writers=writers)
    stack.callback(session.close)
    if state is not None:
        session.restore(state)
    exit_code, values, files = 1, None, {"run": path}
    try:
        with session.interrupts:
            session.go()
            if session.interrupts.received is None:
                values, more = _finish(parts, path, session)
                files |= more
                exit_code = 1 if session.saves.failed else 0
            else:
                exit_code = session.interrupts.exit_code
                panel.message(f"stopped at update {session.updates:,}; to continue: gymnast resume {path}")
    except KeyboardInterrupt:
        if session.interrupts.received is None:
            raise
        exit_code = session.interrupts.exit_code
        panel.message(f"stopped immediately at update {session.updates:,}; to continue: gymnast resume {path}")
    except (RunError, UsageError, EnvError, ValueError, OSError, torch.OutOfMemoryError) as error:
        # such as a batch of one row for batch normalisation, or data that became unreadable
        panel.message(first_line(error))
    finally:
        writers.close(exit_code)
    return FitResult(path, exit_code, session.updates, values, files)


def _played(parts: Parts, best: Path, session: FitSession) -> dict[str, float]:
    """The returns of episodes with the kept policy, if the task fits one and its environment can be made."""
    if parts.task.agent() is None or not parts.options.eval_episodes:
        return {}
    episodes = parts.options.eval_episodes
    try:
        about, _ = checkpoint.read_agent(best)
        _check_trusted(parts, about.env, best)
        env = trained.settings_of(about).make(about.env, min(episodes, 8), device="cpu")
        with closing(env):
            result = play.evaluate(
                rebuild.load_trained(best, trust=parts.options.trust),
                env,
                episodes=episodes,
                seed=Seeds.of(parts.options.seed).test,
                interrupted=lambda: session.interrupts.received is not None,
            )
    except (ValueError, UsageError, EnvError) as error:  # the measures are not lost to an environment
        session.panel.message(f"the policy was not played: {first_line(error)}")
        return {}
    return {name: value for name, value in result.as_json().items() if name in ("mean_return", "std_return")}


def _check_trusted(parts: Parts, env: str, best: Path) -> None:
    """UsageError if the data name code, for a data set may name any; what the user named is trusted."""
    trust = parts.options.trust or env == parts.options.env
    named = [env, *parts.task.env_settings.get("wrapper", ())]
    for name in named:
        if ":" in name and not trust:
            raise UsageError(f"{name} is code from outside gymnast; trust=True (--trust) runs it")
    if not env:
        raise UsageError(f"{best} names no environment")


def _finish(parts: Parts, path: Path, session: FitSession) -> tuple[dict[str, float], dict[str, Path]]:
    """Measure the kept network on the test examples, and draw."""
    best = path / "checkpoints" / "best.pt"
    if best.is_file():
        load_kept(parts.task, best)
    values, outputs = measured(parts.task, parts.task.test, parts.config.batch_size)
    values |= accuracies(parts.task) | _played(parts, best, session)
    session.final(values)
    files = {"checkpoint": best}
    try:
        files |= pictures.draw(parts.task.shown(outputs), path)
        files["curve"] = pictures.curve(path, parts.task.metric)
    except (OSError, ValueError) as error:
        session.panel.message(f"no pictures: {error}")
    return values, files
