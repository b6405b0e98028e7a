"""`gymnast benchmark`: agents in every environment of a suite, with seeds, so many runs at a time, then one report.

Nothing but the runs' folders says what is done, so a benchmark that was killed at any moment is started again by the
same command: finished runs are left alone, the others go on from their last checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnast.errors import UsageError
from gymnast.reports.comparison import Comparison
from gymnast.reports.report import write
from gymnast.storage import folder as run
from gymnast.suites import jobs, planned_run, suites
from gymnast.suites.board import Board
from gymnast.suites.jobs import Outcome, Task
from gymnast.suites.options import BenchmarkOptions, SuiteOptions
from gymnast.suites.planned_run import Planned
from gymnast.suites.suites import Chosen


@dataclass(frozen=True)
class Variant:
    """What is compared: an agent, and the flags that make it this variant."""

    label: str
    agent: str
    words: tuple[str, ...] = ()
    folder: str = ""
    """Stands in the names of its runs' folders where several variants are of one agent."""


def benchmark(options: BenchmarkOptions, extra: Sequence[str] = ()) -> int:
    """Run what is missing of the benchmark and write its report; the exit code of the command.

    `extra` are words of `gymnast train` for every run. Raises UsageError before anything starts.
    """
    variants = [Variant(agent, agent) for agent in options.agents]
    chosen = suites.choose(options.envs)
    return carry_out(options, chosen, variants, name=options.name or chosen.name, extra=extra)


def carry_out(
    options: SuiteOptions,
    chosen: Chosen,
    variants: Sequence[Variant],
    *,
    name: str,
    extra: Sequence[str],
    draw: Mapping[str, Callable[[Comparison], Any]] | None = None,
) -> int:
    """Run each variant in each environment with each seed, those that are not finished, and write one report.

    `draw` are further pictures of the report, by file name. Returns 0, or 1 where a run failed, or 128 + the signal
    that stopped it; then, and where no run is finished, there is no report.
    """
    runs = plan(options, chosen, variants, name=name, extra=extra)
    for item in runs:
        planned_run.check(item)
    report = Path(options.out) / "reports" / name
    try:
        report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {options.out}: {error.strerror}") from None
    with run.locked(report):  # one benchmark of a name at a time
        outcome = _run_missing(options, runs)
    if outcome.exit_code:
        print("stopped; the same command goes on")
        return outcome.exit_code
    finished = [item for item in runs if planned_run.is_finished(item)]
    if finished:
        lacking = [item.title for item in runs if item not in finished]
        order = [variant.label for variant in variants]  # also where the first one's first run is missing
        labels = {item.path: item.label for item in sorted(finished, key=lambda item: order.index(item.label))}
        print(write(labels, report, title=name, missing=lacking, draw=draw).as_text())
    for title, line in outcome.failures.items():
        print(f"gymnast: {title} failed: {line}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _run_missing(options: SuiteOptions, runs: Sequence[Planned]) -> Outcome:
    """Run what is not finished yet."""

    def tidy(done: Task | Planned) -> None:
        if not options.keep_replay:
            planned_run.discard(done.path)

    missing = [item for item in runs if not planned_run.is_finished(item)]
    for item in runs:
        if item in missing:
            planned_run.prepare(item)
        else:
            tidy(item)  # a kill may have come between the end of the run and this
    tasks = [planned_run.task(item) for item in missing]
    steps = sum(task.steps - task.env_step() for task in tasks)
    with Board(runs=len(runs), done=len(runs) - len(missing), steps=steps) as board:
        return jobs.run(tasks, jobs=options.jobs, board=board, done=tidy)


def plan(
    options: SuiteOptions, chosen: Chosen, variants: Sequence[Variant], *, name: str, extra: Sequence[str]
) -> list[Planned]:
    """Every run, by seed first so that an early look sees all environments; UsageError before anything starts."""
    preset = chosen.preset if options.preset is None else options.preset
    protocol = options.protocol or chosen.protocol
    common = [*(("--preset", *preset) if preset else ()), *(("--protocol", protocol) if protocol else ())]
    common += ["--num-envs", str(options.num_envs)] if options.num_envs is not None else []
    common += ["--device", options.device]
    cells = {
        (env, variant): planned_run.plan(
            variant.label, variant.agent, ["--env", env, *common, *variant.words, *extra], options
        )
        for env in chosen.envs
        for variant in variants
    }
    return [
        cells[env, variant].at(seed, options.out, "-".join(filter(None, (name, variant.folder, f"seed{seed}"))))
        for seed in range(options.seeds)
        for env in chosen.envs
        for variant in variants
    ]
