"""What can go wrong in a way that the user can put right, each said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """Wrong input, found before anything starts; the command line prints its one line and exits with code 2."""


class RunError(Exception):
    """A run that cannot go on (a loss that is not finite, a dead worker); one line, exit code 1."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?` with the nearest of the valid names, or nothing where none is near."""
    lowered = {valid.lower(): valid for valid in names}
    found = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"; did you mean {lowered[found[0]]}?" if found else ""


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
