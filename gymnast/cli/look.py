"""`gymnast list` and `gymnast check-env`: what there is, and whether it works."""

from __future__ import annotations

import json

from gymnast.cli.words import options_of
from gymnast.settings import agents
from gymnast.settings.options import CheckEnvOptions, ListOptions


def show(words: list[str]) -> int:
    """Run `gymnast list WHAT ...`; returns the exit code."""
    options = options_of(words, ListOptions, of="list")
    if options is None:
        return 0
    if options.run:
        from gymnast.cli import networks

        described = networks.of_run(options.run)
        print(json.dumps(described, indent=2) if options.json else networks.table(described))
        return 0
    if options.env:
        from gymnast.cli import networks

        agents.search_here()
        measured = networks.measured(options.env)
        print(networks.as_json(measured) if options.json else networks.as_text(measured))
        return 0
    from gymnast.cli import listing

    print(listing.as_json(options.what) if options.json else listing.as_text(options.what))
    return 0


def check(words: list[str]) -> int:
    """Run `gymnast check-env ID ...`; returns the exit code."""
    options = options_of(words, CheckEnvOptions, of="check-env")
    if options is None:
        return 0
    agents.search_here()
    from gymnast.cli.check_env import check_env

    found = check_env(options)
    print(found)
    return 0 if found.ok else 1
