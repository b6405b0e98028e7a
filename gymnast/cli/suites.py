"""`gymnast benchmark`, `gymnast ablate` and `gymnast report`: many runs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from gymnast.cli.words import asks_help, options_of
from gymnast.reports import report as reports
from gymnast.reports.report import ReportOptions
from gymnast.settings import agents
from gymnast.storage.mirror import read_by_reports
from gymnast.storage.near import near
from gymnast.suites.options import AblateOptions, BenchmarkOptions


def benchmark(words: list[str]) -> int:
    """Run `gymnast benchmark SUITE_OR_IDS ...`; returns the exit code."""
    options, extra = suite_options(words, BenchmarkOptions, of="benchmark")
    if options is None:
        return 0
    from gymnast.suites import benchmark as suite

    return suite.benchmark(options, extra)


def ablate(words: list[str]) -> int:
    """Run `gymnast ablate AGENT ...`; returns the exit code."""
    options, extra = suite_options(words, AblateOptions, of="ablate")
    if options is None:
        return 0
    from gymnast.suites import ablate as suite

    return suite.ablate(options, extra)


def report(words: list[str]) -> int:
    """Run `gymnast report RUN_OR_FOLDER ...`; returns the exit code."""
    options = options_of(words, ReportOptions, of="report")
    if options is None:
        return 0
    with ExitStack() as stack:
        copies = [stack.enter_context(near(path, read_by_reports)) for path in options.paths]
        text = reports.report(replace(options, paths=tuple(copy.path for copy in copies))).as_text()
    for copy in copies:
        text = copy.shown(text)
    print(text)
    return 0


def suite_options(words: list[str], cls: type[Any], *, of: str) -> tuple[Any, list[str]]:
    """The options of a command that starts many runs (None after its help), and the words after `--` for every run."""
    own, extra = words, []
    if "--" in words:
        own, extra = words[: words.index("--")], words[words.index("--") + 1 :]
    if not asks_help(own):
        agents.search_here()
    return options_of(own, cls, of=of), extra
