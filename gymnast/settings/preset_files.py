"""A user's own preset: a TOML file of options, named on the command line like any preset."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gymnast.errors import UsageError
from gymnast.settings import agents, flags
from gymnast.settings.options import TrainOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]

ENDING = ".toml"
NETWORK = "network_options"
"""The only table: options of the network."""


def is_file(name: str) -> bool:
    """Whether the name of a preset is one of a file."""
    return name.endswith(ENDING)


def read(name: str, agent: str) -> dict[str, Any]:
    """The fields of run and config that a file sets for an agent.

    Its keys are the options of `gymnast train AGENT`, with dashes or underscores. Raises UsageError for a file that
    cannot be read, an unknown option, or a value that it does not take.
    """
    try:
        entries = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"preset {name} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"preset {name} is not TOML: {error}") from error
    network = entries.pop(NETWORK, None)
    known = flags.flags_of(TrainOptions, agents.config_class(agents.agent_class(agent)))
    words = [word for key, value in entries.items() for word in words_of(key, value, name)]
    values = flags.parse(words, known, of=f"preset {name}")
    if network is None:
        return values
    if not isinstance(network, dict):
        raise UsageError(f"preset {name}: {NETWORK} must be a table, got {network!r}")
    return values | {NETWORK: network}


def words_of(key: str, value: Any, name: str) -> list[str]:
    """An entry as on the command line."""
    flag = key.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    parts = value if isinstance(value, list) else [value]
    if any(not isinstance(part, str | int | float) for part in parts):
        raise UsageError(
            f"preset {name}: {key} must be a number, a string, true, false or a list of these, got {value!r}"
        )
    return [f"--{flag}", *map(str, parts)]
