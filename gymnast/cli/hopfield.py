"""`gymnast hopfield`."""

from __future__ import annotations

import json

from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help
from gymnast.settings import agents, flags
from gymnast.settings.hopfield_options import HopfieldOptions


def hopfield(words: list[str]) -> int:
    """Run `gymnast hopfield ...`; returns the exit code."""
    if asks_help(words):
        show_help("gymnast hopfield", str(HopfieldOptions.__doc__), [HopfieldOptions])
        return 0
    values = flags.parse(words, flags.flags_of(HopfieldOptions), of="hopfield")
    options: HopfieldOptions = flags.build(HopfieldOptions, values, of="hopfield")
    agents.search_here()
    from gymnast.fitting.hopfield import hopfield as run

    found = run(options)
    print(json.dumps(found.as_json()) if options.json else found.as_text())
    return 0
