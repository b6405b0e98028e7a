"""`gymnast probe`."""

from __future__ import annotations

import json

from rich.console import Console

from gymnast.cli.words import options_of
from gymnast.settings import agents
from gymnast.settings.probe_options import ProbeOptions
from gymnast.storage.metrics_log import finite


def probe(words: list[str]) -> int:
    """Run `gymnast probe RUN_OR_NETWORK --env ID ...`; returns the exit code."""
    options = options_of(words, ProbeOptions, of="probe")
    if options is None:
        return 0
    agents.search_here()
    from gymnast.fitting.probe import probe as fit

    with Console(stderr=True).status("") as status:
        found = fit(options, told=status.update)
    print(json.dumps(finite(found.as_json())) if options.json else found.as_text())
    return 0
