"""Checks of a config's fields, with one line that names the field, what is allowed and the value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

Range: TypeAlias = tuple[str, Callable[[Any], bool], tuple[str, ...]]
"""The allowed values of fields that are numbers: in words, as a test, and the fields that they apply to."""


def check_ranges(config: object, ranges: Iterable[Range]) -> None:
    """Raise ValueError for the first field that is out of its range."""
    for words, fits, names in ranges:
        for name in names:
            if not fits(getattr(config, name)):
                raise ValueError(f"{name} must be {words}, got {getattr(config, name)}")


def check_choices(config: object, choices: Mapping[str, Collection[str]]) -> None:
    """Raise ValueError for the first field that is none of its known names."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(config, name)!r}")
