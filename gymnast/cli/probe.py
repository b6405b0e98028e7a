"""`gymnast probe`."""

from __future__ import annotations

import json

from rich.console import Console

from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help
from gymnast.settings import agents, flags
from gymnast.settings.probe_options import ProbeOptions
from gymnast.storage.metrics_log import finite


def probe(words: list[str]) -> int:
    """Run `gymnast probe RUN_OR_NETWORK --env ID ...`; returns the exit code."""
    if asks_help(words):
        show_help("gymnast probe", str(ProbeOptions.__doc__), [ProbeOptions])
        return 0
    values = flags.parse(words, flags.flags_of(ProbeOptions), of="probe")
    options: ProbeOptions = flags.build(ProbeOptions, values, of="probe")
    agents.search_here()
    from gymnast.fitting.probe import probe as fit

    with Console(stderr=True).status("") as status:
        found = fit(options, told=status.update)
    print(json.dumps(finite(found.as_json())) if options.json else found.as_text())
    return 0
