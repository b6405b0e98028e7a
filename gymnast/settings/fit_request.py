"""Resolves and checks the words after `gymnast fit TASK`, without starting anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS, config_class
from gymnast.errors import UsageError, nearest
from gymnast.settings import flags
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.request import with_network_flags


@dataclass(frozen=True)
class FitRequest:
    """A requested run."""

    task: str
    options: FitOptions
    config: FitConfig


def fit_flags(task: str) -> dict[str, flags.Flag]:
    """Every flag of `gymnast fit TASK`; UsageError for an unknown task."""
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}; choose from {', '.join(TASKS)}{nearest(task, TASKS)}")
    return flags.flags_of(FitOptions, config_class(task))


def resolve(task: str, words: Sequence[str]) -> FitRequest:
    """The requested run; UsageError in one line."""
    of = f"fit {task}"
    known = with_network_flags(fit_flags(task), words, default=lambda _: str(config_class(task)().network), of=of)
    given = flags.parse(words, known, of=of)
    own: dict[str, Any] = {name: value for name, value in given.items() if "." not in name}
    options = {name.partition(".")[2]: value for name, value in given.items() if "." in name}
    if options:
        own["network_options"] = options
    return FitRequest(task, flags.build(FitOptions, own, of=of), flags.build(config_class(task), own, of=of))
