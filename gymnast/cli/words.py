"""What commands share: asking for help, and options printed as they will be used."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any, TypeVar

from gymnast.cli.help import show_help
from gymnast.settings import flags

T = TypeVar("T")


def asks_help(words: Sequence[str]) -> bool:
    return "-h" in words or "--help" in words


def options_of(words: Sequence[str], cls: type[T], *, of: str) -> T | None:
    """The options of a command from its words; None after its help was printed. UsageError in one line."""
    if asks_help(words):
        show_help(f"gymnast {of}", str(inspect.getdoc(cls)), [cls])
        return None
    made: T = flags.build(cls, flags.parse(words, flags.flags_of(cls), of=of), of=of)
    return made


def print_resolved(name: str, options: Any, config: Any) -> None:
    """Print every option as it will be used, and the default if it differs; `name` is the agent's or the task's."""
    for title, settings in (("run", options), (name, config)):
        print(title)
        for field, flag in flags.flags_of(type(settings)).items():
            value = getattr(settings, field)
            changed = value != flag.default and flag.default is not MISSING
            default = f"  (default {_shown(flag.default)})" if changed else ""
            print(f"  {flag.name[2:]:<24}{_shown(value)}{default}")
    sys.stdout.flush()


def _shown(value: Any) -> str:
    """A value as written after its flag."""
    if isinstance(value, (tuple, list)):
        return " ".join(str(item) for item in value) or "-"
    return "-" if value is None or value == "" else str(value)
