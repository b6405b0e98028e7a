"""Names of agents: gymnast's own, and `module:Class` or `./file.py:Class` for yours."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from pathlib import Path
from typing import Any

from gymnast.agents.table import ALGORITHMS, CLASSES, AgentEntry
from gymnast.envs import imports
from gymnast.errors import UsageError, nearest

AGENTS: dict[str, AgentEntry] = {
    **{name: entry for name, entry in CLASSES.items() if name not in ALGORITHMS},
    **{name: AgentEntry(CLASSES[kind.base].path, kind.help) for name, kind in ALGORITHMS.items()},
}
"""The classes of gymnast's own agents, and the algorithms that are settings of one."""

METHODS = ("actor", "store", "updates_due", "learn", "scheduled", "state_dict", "load_state_dict")


def is_builtin(name: str) -> bool:
    """Whether the name is one of gymnast's own agents; imports nothing."""
    return name in AGENTS


def agent_class(name: str) -> type[Any]:
    """Import and return the class of an agent's name; UsageError explains a wrong name or class."""
    path = AGENTS[name].path if name in AGENTS else name
    module_name, separator, class_name = path.rpartition(":")
    if not separator or not module_name or not class_name:
        raise UsageError(
            f"unknown agent {name!r}; choose from {', '.join(AGENTS)}, or module:Class, ./file.py:Class"
            f"{nearest(name, AGENTS)}"
        )
    try:
        found = imports.find(path, "class")
    except ValueError as error:
        raise UsageError(f"agent {name}: {error}") from error
    if not inspect.isclass(found):
        raise UsageError(f"agent {name}: {class_name} is a {type(found).__name__}, not a class")
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise UsageError(f"agent {name}: {class_name} is not an agent, it has no {', '.join(missing)}")
    return found


def config_class(agent: type[Any]) -> type[Any]:
    """The dataclass that annotates the agent's attribute `config`, or else its `__init__`'s parameter `config`.

    `| None` is ignored. Raises UsageError if there is none.
    """
    try:
        hint = typing.get_type_hints(agent).get("config") or typing.get_type_hints(agent.__init__).get("config")
    except (NameError, TypeError) as error:
        raise UsageError(f"the annotations of {agent.__name__} cannot be resolved: {error}") from error
    found = [
        part for part in (hint, *typing.get_args(hint)) if inspect.isclass(part) and dataclasses.is_dataclass(part)
    ]
    if len(found) != 1:
        raise UsageError(f"{agent.__name__}.__init__ needs a parameter `config` annotated with a dataclass")
    return found[0]


def default_config(name: str) -> Any:
    """The config of an agent's name: the algorithm's changes over the defaults."""
    changes = ALGORITHMS[name].changes if name in ALGORITHMS else {}
    return config_class(agent_class(name))(**changes)


def import_backbone(config: Any) -> None:
    """Import a `module:Class` or `./file.py:Class` backbone; networks look the class up and import nothing."""
    name = str(getattr(config, "network", ""))
    if ":" in name:
        try:
            imports.find(name, "class")
        except ValueError as error:
            raise UsageError(f"network {name}: {error}") from error


def name_of(agent: type[Any]) -> str:
    """The name under which `agent_class` finds the class."""
    path = f"{agent.__module__}:{agent.__qualname__}"
    return next((name for name, entry in AGENTS.items() if entry.path == path), path)


def help_of(name: str) -> str:
    """One line about an agent, from the table or the first line of the class's docstring."""
    if name in AGENTS:
        return AGENTS[name].help
    return (inspect.getdoc(agent_class(name)) or name).splitlines()[0]


def search_here() -> None:
    """Let `module:Class` and `module:Id` name modules of the working folder, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
