"""Searches for settings of an agent, and keeps everything in one folder.

The study's data base and the runs' folders are all that is known of it, so the same command restarts a study that was
killed at any moment: finished trials are kept, the others are continued from their last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna import Trial

from gymnast.envs.factory import full_id
from gymnast.errors import UsageError, first_line, nearest
from gymnast.settings import flags, idle
from gymnast.settings.request import GROUPS, resolve, train_flags, with_backbone
from gymnast.storage import folder as run
from gymnast.storage.mirror import Remote
from gymnast.suites import planned_run
from gymnast.suites.benchmark import cluster, common_words, fetched, opened
from gymnast.suites.board import Board
from gymnast.suites.jobs import Processes
from gymnast.suites.planned_run import FREE, Planned
from gymnast.suites.suites import Chosen
from gymnast.tuning import space as spaces
from gymnast.tuning import trials
from gymnast.tuning.findings import Findings, conclude
from gymnast.tuning.kept import Kept
from gymnast.tuning.options import TRIALS, TuneOptions
from gymnast.tuning.space import Setting, Space
from gymnast.tuning.study import RUNS, Budget, Study

FIXED = FREE | {"env", "stop_return", "eval_every", "eval_episodes", "init_from", *GROUPS}
"""Options that a space cannot have: they name a run, or change what its score means."""
PREDICTS = "td"
"""The agent whose return no setting changes."""


def search(options: TuneOptions, extra: Sequence[str] = ()) -> Findings:
    """Carry out the trials that are missing, write what they found, and return it.

    `extra` are options of `gymnast train` for every run. Raises UsageError before anything starts.
    """
    with opened(options) as (options, remote):
        return _search(options, extra, remote)


def _search(options: TuneOptions, extra: Sequence[str], remote: Remote | None) -> Findings:
    base = base_words(options, extra)
    space = searched(options, base)
    options = replace(options, trials=_number_of_trials(options, space))
    folder = Path(options.out) / (options.name or f"{run.folder_name(options.agent)}-{_env_name(options.env)}")
    planned = planned_run.plan(options.agent, options.agent, base, options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {options.out}: {error.strerror}") from None
    kept = None if remote is None else Kept(remote, folder)
    if kept is not None:
        kept.fetch()
    with run.locked(folder):  # one process per study and folder
        study = Study(options, space, folder=folder, budget=_budget(options, planned), kept=kept)
        if not study.trials and any(folder.glob("*/*/trial-*")):
            raise UsageError(f"{folder} has runs of another study; choose another --name")
        study.agree(_settings(options, planned, space))
        study.revive()
        exit_code = _carry_out(study, options, partial(_runs, planned, space, options, folder, remote))
        words = partial(_words, planned, space)
        found = conclude(study, folder, agent=options.agent, words=words, exit_code=exit_code)
        return found if kept is None else _sent(found, kept)


def _sent(found: Findings, kept: Kept) -> Findings:
    """What was found, with its files at the URL of the study. Raises RunError."""
    names = [Path(file).name for file in found.files]
    if names:
        kept.send(*names)
    return replace(found, path=kept.url, files=tuple(f"{kept.url}/{name}" for name in names))


def base_words(options: TuneOptions, extra: Sequence[str]) -> list[str]:
    """The words after `gymnast train AGENT` that all trials share; UsageError if no run can be tuned."""
    if options.agent == PREDICTS:
        raise UsageError("td predicts the values of a fixed policy, so no setting changes its return")
    chosen = Chosen((options.env,), "tune")
    return ["--env", options.env, *common_words(options, chosen), *extra]


def searched(options: TuneOptions, base: Sequence[str]) -> Space:
    """The settings to search: those of the space that are not given, and of the agent's own those that have an effect.

    Both ends of each range and every choice are tried on their own. Raises UsageError for one that the agent does not
    take.
    """
    of, known = f"train {options.agent}", train_flags(options.agent)
    space = spaces.of_agent(options.agent) if options.space is None else spaces.read(options.space)
    for setting in space.settings:
        _check_name(setting, known, space)
    given = flags.parse(base, with_backbone(known, options.agent, base, of=of), of=of)
    space = space.without(given)
    if options.space is None:
        config = resolve(options.agent, base, of=of).config
        space = space.without(setting.name for setting in space.settings if _idle(config, setting))
    for setting in space.settings:
        for value in setting.extremes:
            try:
                asked = resolve(options.agent, [*base, *space.words({setting.name: value})], of=of)
                idle.check(asked.config, {setting.name: value})
            except UsageError as error:
                raise UsageError(f"{space.title}: {first_line(error)}") from None
    return space


def _idle(config: Any, setting: Setting) -> bool:
    """Whether a setting would change nothing, because its part is switched off or on."""
    try:
        idle.check(config, {setting.name: setting.extremes[0]})
    except UsageError:
        return True
    return False


def _check_name(setting: Setting, known: Iterable[str], space: Space) -> None:
    if setting.name in FIXED:
        raise UsageError(f"{space.title}: {setting.name} cannot be searched; give it after --")
    if setting.name not in known and not setting.name.startswith("network."):
        raise UsageError(f"{space.title}: {setting.name} is not an option of the agent{nearest(setting.name, known)}")


def _number_of_trials(options: TuneOptions, space: Space) -> int:
    if options.sampler != "grid":
        return options.trials or TRIALS
    size = space.size()
    if options.trials not in (None, size):
        raise UsageError(f"the grid has {size:,} points, but --trials is {options.trials:,}; leave --trials out")
    return size


def _env_name(env: str) -> str:
    try:
        return run.folder_name(full_id(env))
    except ValueError as error:
        raise UsageError(first_line(error)) from None


def _words(base: Planned, space: Space, values: Mapping[str, Any]) -> list[str]:
    """The words after `gymnast train AGENT` of a run with these settings."""
    return [*base.words, *space.words(values)]


def _runs(
    base: Planned, space: Space, options: TuneOptions, folder: Path, remote: Remote | None, trial: Trial
) -> list[Planned]:
    """The runs of a trial, one for each seed; a run whose settings do not go together fails when it starts."""
    item, name = replace(base, words=tuple(_words(base, space, trial.params))), trial.user_attrs[RUNS]
    runs = fetched([item.at(seed, str(folder), f"{name}-seed{seed}") for seed in range(options.seeds)], remote)
    for each in runs:
        planned_run.check(each)
    return runs


def _budget(options: TuneOptions, planned: Planned) -> Budget:
    asked = resolve(options.agent, planned.words, of=f"train {options.agent}").options
    return Budget(first=asked.eval_every, run=planned.steps, trial=options.seeds * planned.steps)


def _settings(options: TuneOptions, planned: Planned, space: Space) -> dict[str, Any]:
    """What all trials of a study have in common; the sampler, the pruner and the number of trials may change."""
    of, known = f"train {options.agent}", train_flags(options.agent)
    given = flags.parse(planned.words, with_backbone(known, options.agent, planned.words, of=of), of=of)
    return {
        "the agent": options.agent,
        "the space": space.plain(),
        "--steps": planned.steps,  # before what follows from it
        "--seeds": options.seeds,
        "--score": options.score,
        **{"--" + name.replace("_", "-"): str(value) for name, value in given.items() if name not in FREE},
    }


def _carry_out(study: Study, options: TuneOptions, plan: trials.Plan) -> int:
    done = len(study.ended)
    left = max(study.wanted - done, 0)
    if not left:
        return 0
    steps = left * study.budget.trial
    with ExitStack() as stack:
        place = stack.enter_context(cluster(options)) if options.ray else Processes(options.jobs)
        board = stack.enter_context(Board(runs=max(study.wanted, done), done=done, steps=steps))
        return trials.carry_out(
            study,
            plan,
            place=place,
            board=board,
            score=options.score,
            keep_replay=options.keep_replay,
        )
