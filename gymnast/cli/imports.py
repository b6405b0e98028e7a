"""`gymnast import`."""

from __future__ import annotations

from gymnast.cli.words import options_of
from gymnast.settings import agents
from gymnast.settings.import_options import ImportOptions


def import_policy(words: list[str]) -> int:
    """Run `gymnast import sb3 FILE.zip --env ID ...`; returns the exit code."""
    options = options_of(words, ImportOptions, of="import")
    if options is None:
        return 0
    agents.search_here()
    from gymnast.export.sb3 import import_sb3

    print(import_sb3(options).as_text())
    return 0
