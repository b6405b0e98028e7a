"""`gymnast benchmark`: trains agents in every environment of a suite with several seeds, then writes one report.

Progress is recorded only in the runs' folders, so the same command restarts a benchmark that was killed at any moment:
it keeps finished runs and resumes the others from their last checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from gymnast.errors import UsageError, first_line
from gymnast.reports.comparison import Comparison
from gymnast.reports.report import write
from gymnast.storage import folder as run
from gymnast.storage import mirror
from gymnast.storage.mirror import Remote
from gymnast.suites import jobs, planned_run, suites
from gymnast.suites.board import Board
from gymnast.suites.jobs import Outcome, Processes, Task
from gymnast.suites.options import BenchmarkOptions, SuiteOptions
from gymnast.suites.planned_run import Planned
from gymnast.suites.ray_cluster import RayCluster
from gymnast.suites.suites import Chosen

S = TypeVar("S", bound=SuiteOptions)


@dataclass(frozen=True)
class Variant:
    """One side of a comparison: an agent and the flags of this variant."""

    label: str
    agent: str
    words: tuple[str, ...] = ()
    folder: str = ""
    """Part of the runs' folder names if several variants share an agent."""


def benchmark(options: BenchmarkOptions, extra: Sequence[str] = ()) -> int:
    """Run the missing runs of the benchmark, write its report, and return the command's exit code.

    `extra` are options of `gymnast train` for every run. Raises UsageError before anything starts.
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
    """Run each variant in each environment with each seed unless finished, and write one report.

    `draw` are further figures of the report, by file name. Returns 0, 1 if a run failed, or 128 + the number of the
    signal that stopped it. After a signal, or if no run is finished, no report is written.
    """
    order = [variant.label for variant in variants]
    with opened(options) as (options, remote):
        runs = plan(options, chosen, variants, name=name, extra=extra)
        return run_and_report(options, runs, remote, name=name, order=order, draw=draw)


def run_and_report(
    options: SuiteOptions,
    runs: Sequence[Planned],
    remote: Remote | None,
    *,
    name: str,
    order: Sequence[str],
    draw: Mapping[str, Callable[[Comparison], Any]] | None = None,
) -> int:
    """Carry out planned runs as `carry_out` does; `order` is that of their labels in the report."""
    runs = fetched(runs, remote)
    for item in runs:
        planned_run.check(item)
    report = Path(options.out) / "reports" / name
    try:
        report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {options.out}: {error.strerror}") from None
    with run.locked(report):  # one benchmark per name at a time
        outcome = _run_missing(options, runs)
    if outcome.exit_code:
        print("stopped; run the same command to continue")
        return outcome.exit_code
    finished = [item for item in runs if planned_run.is_finished(item)]
    if finished:
        lacking = [item.title for item in runs if item not in finished]
        labels = {item.path: item.label for item in sorted(finished, key=lambda item: order.index(item.label))}
        text = write(labels, report, title=name, missing=lacking, draw=draw).as_text()
        if remote is not None:
            remote.mirror(report).send_surely()
        print(text if remote is None else remote.shown(text))
    for title, line in outcome.failures.items():
        print(f"gymnast: {title} failed: {line}", file=sys.stderr)
    return 1 if outcome.failures else 0


@contextmanager
def opened(options: S) -> Iterator[tuple[S, Remote | None]]:
    """The options with the folder in which this process finds the runs, and the URL that keeps it, if there is one.

    Everything is known at the URL, so this process works with a copy that ends with it. Raises UsageError.
    """
    if not mirror.is_url(options.out):
        # Ray's nodes work in other folders
        yield (replace(options, out=str(Path(options.out).absolute())) if options.ray else options), None
        return
    mirror.check(options.out)
    with TemporaryDirectory(prefix="gymnast-") as local:
        yield replace(options, out=local), Remote(options.out, Path(local))


def fetched(runs: Sequence[Planned], remote: Remote | None) -> list[Planned]:
    """The runs with their URLs, of which this machine has copies of all that a report reads; UsageError."""
    if remote is None:
        return list(runs)
    try:
        for item in runs:
            remote.mirror(item.path).fetch(mirror.read_by_reports)
    except OSError as error:
        raise UsageError(f"--out {remote.url}: {first_line(error)}") from None
    return [replace(item, url=remote.url_of(item.path)) for item in runs]


def _run_missing(options: SuiteOptions, runs: Sequence[Planned]) -> Outcome:
    """Run all unfinished runs."""

    def tidy(done: Task | Planned) -> None:
        if not options.keep_replay:
            planned_run.discard(done)

    missing = [item for item in runs if not planned_run.is_finished(item)]
    with ExitStack() as stack:
        place = stack.enter_context(cluster(options)) if options.ray and missing else Processes(options.jobs)
        for item in runs:
            if item in missing:
                planned_run.prepare(item)
            else:
                tidy(item)  # it may have been killed right after the end of the run
        tasks = [planned_run.task(item) for item in missing]
        steps = sum(task.steps - task.env_step() for task in tasks)
        board = stack.enter_context(Board(runs=len(runs), done=len(runs) - len(missing), steps=steps))
        if isinstance(place, RayCluster) and place.dashboard:
            board.message(f"Ray's dashboard: {place.dashboard}")
        return jobs.run(tasks, place=place, board=board, done=tidy)


def cluster(options: SuiteOptions) -> RayCluster:
    """Ray's nodes, for options that ask for them."""
    assert options.ray is not None
    return RayCluster(options.ray, cpus=options.cpus_per_run, gpus=options.gpus_per_run, send_code=options.send_code)


def plan(
    options: SuiteOptions, chosen: Chosen, variants: Sequence[Variant], *, name: str, extra: Sequence[str]
) -> list[Planned]:
    """Every run, ordered by seed first so that early results cover all environments. Raises UsageError."""
    common = common_words(options, chosen)
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


def common_words(options: SuiteOptions, chosen: Chosen) -> list[str]:
    """The options of `gymnast train` that all runs of a suite share."""
    preset = chosen.preset if options.preset is None else options.preset
    protocol = options.protocol or chosen.protocol
    words = [*(("--preset", *preset) if preset else ()), *(("--protocol", protocol) if protocol else ())]
    words += ["--num-envs", str(options.num_envs)] if options.num_envs is not None else []
    return [*words, "--device", options.device]
