"""`gymnast sample`."""

from __future__ import annotations

from gymnast.cli.words import options_of
from gymnast.errors import UsageError
from gymnast.settings import agents, flags
from gymnast.settings.sample_options import SampleOptions


def sample(words: list[str]) -> int:
    """Run `gymnast sample RUN --number N --out FILE ...`; returns the exit code."""
    options = options_of(words, SampleOptions, of="sample")
    if options is None:
        return 0
    if options.trust:
        agents.search_here()
    from gymnast.fitting.sample import sample as draw

    try:
        print(draw(options).as_text())
    except UsageError as error:
        raise UsageError(flags.with_flags(str(error), flags.flags_of(SampleOptions))) from error
    return 0
