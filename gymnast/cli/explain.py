"""`gymnast explain`."""

from __future__ import annotations

import json

from rich.console import Console

from gymnast.cli.words import options_of
from gymnast.errors import UsageError
from gymnast.settings import agents, flags
from gymnast.settings.explain_options import ExplainOptions
from gymnast.storage.metrics_log import finite


def explain(words: list[str]) -> int:
    """Run `gymnast explain RUN --env ID ...`; returns the exit code."""
    options = options_of(words, ExplainOptions, of="explain")
    if options is None:
        return 0
    agents.search_here()
    from gymnast.explain.explain import explain as look

    try:
        with Console(stderr=True).status("") as status:
            found = look(options, told=status.update)
    except UsageError as error:
        raise UsageError(flags.with_flags(str(error), flags.flags_of(ExplainOptions))) from error
    print(json.dumps(finite(found.as_json())) if options.json else found.as_text())
    return 0
