"""`gymnast record`."""

from __future__ import annotations

from gymnast.cli.words import options_of
from gymnast.errors import UsageError
from gymnast.settings import agents, flags
from gymnast.settings.record_options import RANDOM, RecordOptions


def record(words: list[str]) -> int:
    """Run `gymnast record RUN_OR_random ...`; returns the exit code."""
    options = options_of(words, RecordOptions, of="record")
    if options is None:
        return 0
    if options.trust or options.policy == RANDOM:
        agents.search_here()
    from gymnast.fitting import record as recording

    try:
        recorded = recording.record(options)
    except UsageError as error:
        raise UsageError(flags.with_flags(str(error), flags.flags_of(RecordOptions))) from error
    print(recorded.as_text())
    return recorded.exit_code
