"""`gymnast serve`."""

from __future__ import annotations

from gymnast.cli.words import options_of
from gymnast.errors import UsageError, require
from gymnast.settings import agents, flags
from gymnast.settings.serve_options import ServeOptions

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def serve(words: list[str]) -> int:
    """Run `gymnast serve RUN ...`; returns the exit code."""
    options = options_of(words, ServeOptions, of="serve")
    if options is None:
        return 0
    require(*NEEDED, of="gymnast serve", extra="serve")
    if options.trust:
        agents.search_here()
    from gymnast.serving import server

    try:
        return server.serve(options)
    except UsageError as error:
        raise UsageError(flags.with_flags(str(error), flags.flags_of(ServeOptions))) from error
