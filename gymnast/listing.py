"""`gymnast list`: agents, environments, networks and presets."""

from __future__ import annotations

import json
from typing import Any

from gymnast import names, presets


def as_json(what: str) -> str:
    """The list as JSON: names with their descriptions, or for environments groups of ids."""
    return json.dumps(_content(what), indent=2)


def as_text(what: str) -> str:
    """The list as a table."""
    content = _content(what)
    if what == "envs":
        return "\n\n".join(f"{group}\n" + "\n".join(f"  {id}" for id in ids) for group, ids in content.items())
    if what == "presets":
        return "\n".join(line for name in presets.PRESETS for line in _preset_lines(name))
    width = max(map(len, content)) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in content.items())


def _content(what: str) -> dict[str, Any]:
    if what == "agents":
        return {name: entry.help for name, entry in names.AGENTS.items()}
    if what == "networks":
        from gymnast.networks.build import NETWORKS

        return dict(NETWORKS)
    if what == "presets":
        return {
            name: {"help": preset.help, "run": preset.run, "agent": preset.agent}
            for name, preset in presets.PRESETS.items()
        }
    return _envs()


def _preset_lines(name: str) -> list[str]:
    preset = presets.PRESETS[name]
    lines = [f"{name:<22}{preset.help}"]
    if preset.run:
        lines.append(f"{'  run':<22}{_settings(preset.run)}")
    lines += [f"  {agent:<20}{_settings(changes)}" for agent, changes in preset.agent.items() if changes]
    return lines


def _settings(changes: dict[str, Any]) -> str:
    """Changes as they would be written on the command line."""
    return " ".join(_flag(name.replace("_", "-"), value) for name, value in changes.items())


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


def _envs() -> dict[str, list[str]]:
    """Ids of the registry by family; of several versions of one environment, all that are registered."""
    import gymnasium as gym

    import gymnast.envs  # noqa: F401 - registers gymnast's own ids and Atari's

    groups: dict[str, list[str]] = {}
    for id, spec in gym.registry.items():
        entry = spec.entry_point if isinstance(spec.entry_point, str) else ""
        groups.setdefault(_group(id, entry), []).append(id)
    order = ["gymnast", "classic control", "toy text", "box2d", "mujoco", "Atari", "other"]
    return {group: sorted(groups[group]) for group in order if group in groups}


def _group(id: str, entry_point: str) -> str:
    if id.startswith("gymnast/"):
        return "gymnast"
    if id.startswith("ALE/"):
        return "Atari"
    for part, group in (
        ("classic_control", "classic control"),
        ("toy_text", "toy text"),
        ("box2d", "box2d"),
        ("mujoco", "mujoco"),
    ):
        if part in entry_point:
            return group
    return "other"
