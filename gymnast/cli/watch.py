"""`gymnast watch`."""

from __future__ import annotations

from gymnast.cli.words import options_of
from gymnast.errors import UsageError, require
from gymnast.settings import flags
from gymnast.settings.watch_options import WatchOptions

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def watch(words: list[str]) -> int:
    """Run `gymnast watch [RUN_OR_FOLDER] ...`; returns the exit code."""
    options = options_of(words, WatchOptions, of="watch")
    if options is None:
        return 0
    require(*NEEDED, of="gymnast watch", extra="serve")
    from gymnast.serving import watch as page

    try:
        return page.watch(options)
    except UsageError as error:
        raise UsageError(flags.with_flags(str(error), flags.flags_of(WatchOptions))) from error
