"""`gymnast train AGENT --seeds A:B --ray ...`: one run per seed, each a task of a Ray cluster, and one report.

Like a benchmark it knows only what the runs' folders hold, so the same command continues after its process was killed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gymnast.errors import UsageError, first_line
from gymnast.settings import flags
from gymnast.settings.options import PopulationOptions, RayOptions
from gymnast.settings.request import train_flags, with_backbone
from gymnast.settings.seeds import seed_range
from gymnast.storage.folder import folder_name
from gymnast.suites.options import SuiteOptions

OF_ALL = ("steps", "out", "name")
"""Options of `gymnast train` that concern all runs together."""
RAY = tuple(field.name for field in dataclasses.fields(RayOptions))
REFUSED = {
    "seed": "--seeds gives every run its own",
    "stop_return": "all runs have the same length",
    "vary": "a population varies settings; gymnast tune --sampler grid --ray crosses them",
    "vary_zip": "a population varies settings; gymnast tune --ray searches them",
}
"""Options that cannot be combined with runs on Ray, and why."""


def is_asked(words: Sequence[str]) -> bool:
    """Whether the words of `gymnast train` are for runs on Ray; a single run has `--ray` too, for its processes."""
    alone = flags.has_field(words, [name for name in RAY if name != "ray"])
    return alone or (flags.has_field(words, ["seeds"]) and flags.has_field(words, ["ray"]))


def train_seeds(agent: str, words: Sequence[str]) -> int:
    """Carry out the runs that are missing, and return the command's exit code.

    `words` are those after `gymnast train AGENT`. Raises UsageError before anything starts.
    """
    return _carry_out(agent, *resolve(agent, words))


def resolve(agent: str, words: Sequence[str]) -> tuple[list[str], range, SuiteOptions]:
    """The words of each run, the seeds, and the options of all runs; UsageError."""
    of = f"train {agent}"
    known = train_flags(agent) | flags.flags_of(PopulationOptions, RayOptions)
    given = flags.parse(words, with_backbone(known, agent, words, of=of), of=of)
    ray = flags.build(RayOptions, given, of=of)
    if ray.ray is None:
        raise UsageError("--ray local|ADDRESS is missing, without which nothing runs on Ray")
    if not given.get("seeds"):
        raise UsageError("--cpus-per-run, --gpus-per-run and --send-code need --seeds A:B, one run for each seed")
    for name, why in REFUSED.items():
        if name in given:
            raise UsageError(f"--{name.replace('_', '-')} cannot be combined with --seeds --ray: {why}")
    try:
        seeds = seed_range(given["seeds"])
    except ValueError as error:
        raise UsageError(f"--{first_line(error)}") from None
    own = {name: given[name] for name in OF_ALL if name in given}
    options = flags.build(SuiteOptions, {**dataclasses.asdict(ray), **own}, of=of)
    return flags.without_fields(words, ("seeds", *RAY, *OF_ALL)), seeds, options


def _carry_out(agent: str, words: Sequence[str], seeds: range, options: SuiteOptions) -> int:
    from gymnast.suites import planned_run  # torch, and all that reports need
    from gymnast.suites.benchmark import opened, run_and_report

    with opened(options) as (options, remote):
        planned = planned_run.plan(agent, agent, words, options)
        runs = [planned.at(seed, options.out, "-".join(filter(None, (options.name, f"seed{seed}")))) for seed in seeds]
        name = options.name or f"{folder_name(agent)}-{folder_name(planned.env)}"
        return run_and_report(options, runs, remote, name=name, order=[agent])
