"""`gymnast tune`."""

from __future__ import annotations

from gymnast.cli.suites import suite_options
from gymnast.tuning.options import TuneOptions


def tune(words: list[str]) -> int:
    """Run `gymnast tune AGENT ...`; returns the exit code."""
    options, extra = suite_options(words, TuneOptions, of="tune")
    if options is None:
        return 0
    from gymnast.tuning import tune as tuning

    found = tuning.tune(options, extra)
    print(found.as_text())
    if found.exit_code >= 128:
        print("stopped; run the same command to continue")
    return found.exit_code
