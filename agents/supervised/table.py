"""The tasks of `gymnast fit` by name. None of them is imported here."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from gymnast.agents.supervised.config import FitConfig


class TaskEntry(NamedTuple):
    """Where a task's class is, and what it does."""

    path: str
    """`module:Class`, in this folder."""
    help: str
    epochs: int
    """Passes over the data by default."""
    needs: str
    """Kind of data: labelled, or episodes."""


TASKS: dict[str, TaskEntry] = {
    "classify": TaskEntry("labelled:Classify", "classes of examples, or of every step of sequences", 40, "labelled"),
    "regress": TaskEntry("labelled:Regress", "numbers that belong to examples", 40, "labelled"),
}


def task_class(name: str) -> Any:
    """The class of a task."""
    module, _, cls = TASKS[name].path.partition(":")
    return getattr(import_module(f"gymnast.agents.supervised.{module}"), cls)


def config_class(name: str) -> type[FitConfig]:
    """The config of a task."""
    found: type[FitConfig] = task_class(name).Config
    return found
