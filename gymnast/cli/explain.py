"""`gymnast explain`."""

from __future__ import annotations

import json

from rich.console import Console

from gymnast.cli.words import options_of
from gymnast.settings import agents
from gymnast.settings.explain_options import ExplainOptions
from gymnast.storage.metrics_log import finite


def explain(words: list[str]) -> int:
    """Run `gymnast explain RUN --env ID ...`; returns the exit code."""
    options = options_of(words, ExplainOptions, of="explain")
    if options is None:
        return 0
    agents.search_here()
    from gymnast.explain.explain import explain as look

    with Console(stderr=True).status("") as status:
        found = look(options, told=status.update)
    print(json.dumps(finite(found.as_json())) if options.json else found.as_text())
    return 0
