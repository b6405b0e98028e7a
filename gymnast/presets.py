"""Presets: settings that go together, by name. `--preset A B` applies them from left to right, then explicit flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gymnast.errors import UsageError, nearest


@dataclass(frozen=True)
class Preset:
    """Changes to the options of a run and to the config of each agent that it fits."""

    help: str
    agent: dict[str, dict[str, Any]]
    """Changes to the config of each agent that the preset is for."""
    run: dict[str, Any] = field(default_factory=dict)
    """Changes to TrainOptions."""


PRESETS: dict[str, Preset] = {
    "dqn": Preset("deep Q-network: the plain defaults", {"dqn": {}}),
}


def apply(names: Sequence[str], agent: str) -> dict[str, Any]:
    """The fields that presets set for an agent, of run and config together; later presets override earlier ones.

    Raises UsageError for an unknown preset and for one that is not made for the agent.
    """
    values: dict[str, Any] = {}
    for name in names:
        if name not in PRESETS:
            raise UsageError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}{nearest(name, PRESETS)}")
        preset = PRESETS[name]
        if agent not in preset.agent:
            raise UsageError(f"the preset {name} is for {', '.join(preset.agent)}, not for {agent}")
        values |= preset.run | preset.agent[agent]
    return values
