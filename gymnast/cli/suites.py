"""`gymnast benchmark`, `gymnast ablate` and `gymnast report`: many runs."""

from __future__ import annotations

import inspect
from typing import Any

from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help
from gymnast.reports import report as reports
from gymnast.reports.report import ReportOptions
from gymnast.settings import agents, flags
from gymnast.suites.options import AblateOptions, BenchmarkOptions


def benchmark(words: list[str]) -> int:
    """Run `gymnast benchmark SUITE_OR_IDS ...`; returns the exit code."""
    options, extra = _suite_options(words, BenchmarkOptions, of="benchmark")
    if options is None:
        return 0
    from gymnast.suites import benchmark as suite

    return suite.benchmark(options, extra)


def ablate(words: list[str]) -> int:
    """Run `gymnast ablate rainbow ...`; returns the exit code."""
    options, extra = _suite_options(words, AblateOptions, of="ablate")
    if options is None:
        return 0
    from gymnast.suites import ablate as suite

    return suite.ablate(options, extra)


def report(words: list[str]) -> int:
    """Run `gymnast report RUN_OR_FOLDER ...`; returns the exit code."""
    if asks_help(words):
        show_help("gymnast report", str(ReportOptions.__doc__), [ReportOptions])
        return 0
    values = flags.parse(words, flags.flags_of(ReportOptions), of="report")
    options: ReportOptions = flags.build(ReportOptions, values, of="report")
    print(reports.report(options).as_text())
    return 0


def _suite_options(words: list[str], cls: type[Any], *, of: str) -> tuple[Any, list[str]]:
    """The options of a command that starts many runs (None after its help), and the words after `--` for every run."""
    own, extra = words, []
    if "--" in words:
        own, extra = words[: words.index("--")], words[words.index("--") + 1 :]
    if asks_help(own):
        show_help(f"gymnast {of}", str(inspect.getdoc(cls)), [cls])
        return None, []
    agents.search_here()
    return flags.build(cls, flags.parse(own, flags.flags_of(cls), of=of), of=of), extra
