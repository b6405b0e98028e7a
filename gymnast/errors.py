"""Errors that the user can fix, each with a one-line message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.util import find_spec


class UsageError(Exception):
    """Wrong input, detected before anything starts; the command line prints its message and exits with code 2."""


class RunError(Exception):
    """A run that cannot continue (a loss that is not finite, a dead worker); exit code 1."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?` with the nearest valid name, or an empty string if none is near."""
    lowered = {valid.lower(): valid for valid in names}
    found = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"; did you mean {lowered[found[0]]}?" if found else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def require(*modules: str, of: str, extra: str) -> None:
    """UsageError that names the extra if a module that `of` needs is not installed; imports nothing."""
    for name in modules:
        if find_spec(name) is None:
            raise UsageError(f'{of} needs {name.replace("_", "-")}: pip install "gymnast[{extra}]"')
