"""`gymnast list`: agents, data sets, environments, networks, presets, references and suites."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from importlib.util import find_spec
from typing import Any

from gymnast.atari import protocols, scores
from gymnast.cli import datasets
from gymnast.settings import agents, presets
from gymnast.settings.references import REFERENCES
from gymnast.suites import suites

NEEDS = {
    "gymnasium.envs.box2d": "Box2D",
    "gymnasium.envs.mujoco": "mujoco",
    "gymnasium.envs.phys2d": "jax",
    "gymnasium.envs.tabular": "jax",
}
"""Further packages that Gymnasium's environments need."""


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
    if what == "suites":
        return "\n".join(line for name in suites.SUITES for line in _suite_lines(name))
    if what == "protocols":
        return "\n".join(
            f"{name:<12}{item.as_text()}\n{'':<12}{item.paper}" for name, item in protocols.PROTOCOLS.items()
        )
    if what == "scores":
        return _scores_text()
    if what == "references":
        return _references_text()
    if what == "datasets":
        return datasets.as_text(content)
    width = max(map(len, content)) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in content.items())


def _content(what: str) -> dict[str, Any]:
    if what == "agents":
        return {name: entry.help for name, entry in agents.AGENTS.items()}
    if what == "datasets":
        return datasets.found()
    if what == "networks":
        from gymnast.networks.build import NETWORKS

        return dict(NETWORKS)
    if what == "presets":
        return {
            name: {"help": preset.help, "run": preset.run, "agent": preset.agent}
            for name, preset in presets.PRESETS.items()
        }
    if what == "suites":
        return {name: dataclasses.asdict(suite) for name, suite in suites.SUITES.items()}
    if what == "references":
        return {
            name: {"steps": row.steps, **dataclasses.asdict(row), "options": dict(row.options)}
            for name, row in REFERENCES.items()
        }
    if what == "protocols":
        return {name: dataclasses.asdict(protocol) for name, protocol in protocols.PROTOCOLS.items()}
    if what == "scores":
        columns = {name: dataclasses.asdict(column) for name, column in scores.COLUMNS.items()}
        return {"columns": columns, "games": scores.table()}
    return _envs()


def _scores_text() -> str:
    """The table, followed by the source of each column: scores of different protocols are not comparable."""
    names_ = list(scores.COLUMNS)
    rows = [["game", *names_]]
    rows += [
        [game, *(f"{row[name]:g}" if name in row else "-" for name in names_)] for game, row in scores.table().items()
    ]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, _widths(rows), strict=True)) for row in rows]
    notes = [
        f"{name}: {column.paper}; {column.conditions} (protocol {column.protocol or 'its own'})"
        for name, column in scores.COLUMNS.items()
    ]
    return "\n".join([*lines, "", *notes])


def _references_text() -> str:
    rows = [["reference", "agent", "environment", "steps", "published"]]
    for name, row in REFERENCES.items():
        rows.append([name, row.agent, row.env, "-" if row.steps is None else f"{row.steps:,}", row.goal])
    widths = _widths(rows)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _widths(rows: list[list[str]]) -> list[int]:
    """Characters of each column of a table."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _preset_lines(name: str) -> list[str]:
    preset = presets.PRESETS[name]
    lines = [f"{name:<24}{preset.help}"]
    if preset.run:
        lines.append(f"{'  run':<24}{settings(preset.run)}")
    lines += [f"  {agent:<22}{settings(changes)}" for agent, changes in preset.agent.items() if changes]
    return lines


def _suite_lines(name: str) -> list[str]:
    suite = suites.SUITES[name]
    usual = f"preset {suite.preset}" + (f", protocol {suite.protocol}" if suite.protocol else "")
    ids = textwrap.wrap(" ".join(suite.envs), width=90)
    return [f"{name:<12}{suite.help}; {usual}", *(f"{'':<12}{line}" for line in ids)]


def settings(changes: dict[str, Any]) -> str:
    """Changes as written on the command line."""
    return " ".join(_flag(name.replace("_", "-"), value) for name, value in changes.items())


def _flag(name: str, value: Any) -> str:
    if isinstance(value, dict):  # the options of a network
        return settings({f"network.{option}": of for option, of in value.items()})
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


def _envs() -> dict[str, list[str]]:
    """Ids by family: every registered version of an environment whose package is installed, and the Atari games."""
    import gymnasium as gym

    import gymnast.envs  # noqa: F401 - registers gymnast's own ids and Atari's
    from gymnast.envs.atari.names import atari_games
    from gymnast.envs.registration import NativeEntry, register

    register()
    groups: dict[str, list[str]] = {"Atari": [f"ALE/{game}-v5" for game in atari_games()]}
    for id, spec in gym.registry.items():
        entry = spec.entry_point if isinstance(spec.entry_point, str) else ""
        native = isinstance(spec.vector_entry_point, NativeEntry)
        if id not in groups["Atari"] and (native or _is_there(spec.entry_point)):
            groups.setdefault("device-native" if native else _group(id, entry), []).append(id)
    order = ["device-native", "gymnast", "classic control", "toy text", "box2d", "mujoco", "Atari", "other"]
    return {group: sorted(groups[group]) for group in order if group in groups}


def _is_there(entry_point: Any) -> bool:
    """Whether the packages of an entry point are installed."""
    if not isinstance(entry_point, str):  # Gymnasium registers functions that only report the new place of an old id
        return entry_point is not None and entry_point.__module__ != "gymnasium.envs"
    module = entry_point.partition(":")[0]
    needed = [module.partition(".")[0], *(name for part, name in NEEDS.items() if module.startswith(part))]
    return all(find_spec(name) is not None for name in needed)


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
