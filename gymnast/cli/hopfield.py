"""`gymnast hopfield`."""

from __future__ import annotations

import json

from gymnast.cli.words import options_of
from gymnast.settings import agents
from gymnast.settings.hopfield_options import HopfieldOptions


def hopfield(words: list[str]) -> int:
    """Run `gymnast hopfield ...`; returns the exit code."""
    options = options_of(words, HopfieldOptions, of="hopfield")
    if options is None:
        return 0
    agents.search_here()
    from gymnast.fitting.hopfield import hopfield as run

    found = run(options)
    print(json.dumps(found.as_json()) if options.json else found.as_text())
    return 0
