"""`gymnast record`."""

from __future__ import annotations

from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help
from gymnast.errors import UsageError
from gymnast.settings import agents, flags
from gymnast.settings.record_options import RANDOM, RecordOptions


def record(words: list[str]) -> int:
    """Run `gymnast record RUN_OR_random ...`; returns the exit code."""
    if asks_help(words):
        show_help("gymnast record", str(RecordOptions.__doc__), [RecordOptions])
        return 0
    values = flags.parse(words, flags.flags_of(RecordOptions), of="record")
    options: RecordOptions = flags.build(RecordOptions, values, of="record")
    if options.trust or options.policy == RANDOM:
        agents.search_here()
    from gymnast.fitting import record as recording

    try:
        recorded = recording.record(options)
    except UsageError as error:
        raise UsageError(flags.with_flags(str(error), flags.flags_of(RecordOptions))) from error
    print(recorded.as_text())
    return recorded.exit_code
