"""`gymnast export`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gymnast.cli.words import options_of
from gymnast.errors import UsageError
from gymnast.settings import agents, flags
from gymnast.settings.export_options import ExportOptions
from gymnast.storage.near import near


def export(words: list[str]) -> int:
    """Run `gymnast export RUN --to FORMAT ...`; returns the exit code."""
    options = options_of(words, ExportOptions, of="export")
    if options is None:
        return 0
    if options.trust:
        agents.search_here()
    from gymnast.export.export import Source
    from gymnast.export.export import export as write

    with near(options.run) as copy:
        options, source = replace(options, run=copy.path), None
        if options.member is not None:
            from gymnast.populations.files import ALL, read_member

            source = Source(Path(options.run) / ALL, *read_member(Path(options.run), options.member))
        try:
            print(write(options, source).as_text())
        except UsageError as error:
            raise UsageError(flags.with_flags(str(error), flags.flags_of(ExportOptions))) from error
    return 0
