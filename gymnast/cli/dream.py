"""`gymnast dream`."""

from __future__ import annotations

import json

from rich.console import Console

from gymnast.cli.words import options_of
from gymnast.settings import agents
from gymnast.settings.dream_options import DreamOptions
from gymnast.storage.metrics_log import finite


def dream(words: list[str]) -> int:
    """Run `gymnast dream RUN ...`; returns the exit code."""
    options = options_of(words, DreamOptions, of="dream")
    if options is None:
        return 0
    if options.trust:
        agents.search_here()
    from gymnast.dreams.compare import compare

    with Console(stderr=True).status("") as status:
        found = compare(options, told=status.update)
    print(json.dumps(finite(found.as_json())) if options.json else found.as_text())
    return 0
