"""The finished runs under some folders: their scores and curves, each with a label, and all of one protocol."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gymnast.errors import UsageError
from gymnast.reports.statistics import Array
from gymnast.storage import folder as run
from gymnast.storage import metrics_log
from gymnast.storage.fitted import is_fitted

WANDB = ("wandb_project", "wandb_mode", "wandb_entity", "wandb_group", "wandb_tags")
PER_RUN = frozenset(("seed", "name", "out", "env", "steps", "device", "track", "video", "threads", "profile", *WANDB))
"""Options in which runs of one agent may differ and still share a label."""

LATER = ("wrapper", "init_from")
"""Options that runs of earlier builds do not have."""

MEASURED = ("train_return", "eval_return", "mean_return", "std_return", "mean_length")
"""Columns of members.csv besides the seed and the varied settings."""
_NO_CURVE: Array = np.empty((0, 2))


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    label: str
    env: str
    seed: int
    env_step: int
    score: float
    """Mean return of the kept agent in the final evaluation."""
    protocol: dict[str, Any] | None
    """The settings under which an Atari game was scored."""
    evaluations: Array
    """[n, 2]: env step and mean return of each evaluation in training."""
    training: Array
    """[n, 2]: env step and mean return of the last 100 training episodes."""

    @property
    def title(self) -> str:
        return f"{self.env} {self.label} seed {self.seed}"


@dataclass(frozen=True)
class Gathered:
    """Runs in the order of their paths, and the titles of those that are not finished."""

    runs: tuple[Run, ...]
    unfinished: tuple[str, ...]


def find(paths: Sequence[str]) -> list[Path]:
    """The run folders that the paths name or hold, each once; UsageError if a path contains none."""
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UsageError(f"no folder {path}")
        inside, fitted = [], False
        for folder, below, files in os.walk(path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if "config.json" in files:
                if is_fitted(folder):  # what it measures is no return
                    fitted = True
                else:
                    inside.append(Path(folder))
                below.clear()
        if not inside:
            why = "only fitted networks" if fitted else "no run: it has no config.json"
            raise UsageError(f"{path} contains {why}")
        found |= dict.fromkeys(inside)
    return list(found)


def labelled(paths: Sequence[Path]) -> dict[Path, str]:
    """A label for each run: its agent, and the settings in which it differs from most runs of that agent and game."""
    kept = {path: run.read_config(path) for path in paths}
    settings = {path: _settings(config) for path, config in kept.items()}
    labels = {}
    for path, config in kept.items():
        peers = [
            settings[other]
            for other, theirs in kept.items()
            if (theirs["agent"], theirs["run"]["env"]) == (config["agent"], config["run"]["env"])
        ]
        different = [
            f"{name} {_word(value)}"
            for name, value in settings[path].items()
            if _usual(peers, name) != json.dumps(value)
        ]
        labels[path] = ", ".join([config["agent"], *different])
    return labels


def gather(labels: Mapping[Path, str], *, missing: Sequence[str] = ()) -> Gathered:
    """Read the runs; `missing` are titles of expected runs that have no folder.

    Raises UsageError if no run is finished, if two have the same label, game and seed, or for different protocols.
    """
    runs: list[Run] = []
    unfinished = list(missing)
    for path, label in labels.items():
        config = run.read_config(path)
        try:
            rows = metrics_log.read(path / "metrics.jsonl")
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: the log cannot be read: {error}") from None
        item = _run(path, label, config, rows)
        if config.get("population") is not None:
            found, lost = _members(path, label, config, item)
            runs += found
            unfinished += lost
        elif item is None:
            unfinished.append(f"{config['run']['env']} {label} seed {config['run']['seed']}")
        else:
            runs.append(item)
    if not runs:
        raise UsageError(f"no run is finished: {', '.join(unfinished)}")
    _check_twins(runs)
    _check_protocols(runs)
    return Gathered(tuple(runs), tuple(unfinished))


def _run(path: Path, label: str, config: dict[str, Any], rows: list[dict[str, Any]]) -> Run | None:
    """The run of a folder; None if it has no final evaluation after all its steps with a finite return."""
    final = rows[-1] if rows else {}
    solved = config["run"].get("stop_return") is not None
    if final.get("kind") != "final" or (final["env_step"] < config["run"]["steps"] and not solved):
        return None
    if final["mean_return"] is None:
        return None
    return Run(
        path=path,
        label=label,
        env=final["env"],
        seed=config["run"]["seed"],
        env_step=final["env_step"],
        score=final["mean_return"],
        protocol=final.get("protocol_settings"),
        evaluations=_series(rows, "eval", "mean_return"),
        training=_series(rows, "train", "return_mean"),
    )


def _members(path: Path, label: str, config: dict[str, Any], whole: Run | None) -> tuple[list[Run], list[str]]:
    """The members of a population as runs, labelled by their varied settings, and the titles of those that diverged.

    Their curves are those of evaluations; training episodes are not logged for each of them.
    """
    if whole is None:
        return [], [f"{config['run']['env']} {label} seeds {config['population']['seeds']}"]
    runs, lost = [], []
    try:
        with open(path / "members.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UsageError(f"{path}: the members cannot be read: {error}") from None
    for row, evaluations in zip(rows, _member_curves(path, members=len(rows)), strict=True):
        varied = [f"{name} {float(value):g}" for name, value in row.items() if name not in ("seed", *MEASURED)]
        score = row["mean_return"]
        member = dataclasses.replace(
            whole,
            label=", ".join([label, *varied]),
            seed=int(row["seed"]),
            score=float(score) if score else math.nan,
            evaluations=evaluations,
            training=_NO_CURVE,
        )
        if score:
            runs.append(member)
        else:
            lost.append(f"{member.title} (diverged)")
    return runs, lost


def _member_curves(path: Path, *, members: int) -> list[Array]:
    """The evaluations [n, 2] of each member; empty for folders of earlier builds, which did not write them."""
    file = path / "evaluations.jsonl"
    if not file.is_file():
        return [_NO_CURVE] * members
    try:
        rows = metrics_log.read(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the evaluations cannot be read: {error}") from None
    if any(len(row["returns"]) != members for row in rows):
        raise UsageError(f"{file} has evaluations of other members than members.csv")
    steps = np.array([row["env_step"] for row in rows], dtype=np.float64)
    returns = np.array([row["returns"] for row in rows], dtype=np.float64).reshape(-1, members)  # null becomes nan
    curves = [np.column_stack([steps, own]) for own in returns.T]
    return [curve[np.isfinite(curve[:, 1])] for curve in curves]


def _series(rows: list[dict[str, Any]], kind: str, name: str) -> Array:
    found = [(row["env_step"], row[name]) for row in rows if row["kind"] == kind and row.get(name) is not None]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    own = {**config["run"], **config["config"]}
    return {name: value for name, value in own.items() if name not in PER_RUN and (name not in LATER or value)}


def _usual(peers: list[dict[str, Any]], name: str) -> str:
    """The value that most runs have, as JSON; of equally frequent ones, the first in alphabetical order."""
    counts = Counter(json.dumps(peer.get(name)) for peer in peers)
    return min(counts, key=lambda value: (-counts[value], value))


def _word(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_twins(runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for item in runs:
        if item.title in seen:
            raise UsageError(f"two runs are {item.title}: {seen[item.title].path} and {item.path}; leave one out")
        seen[item.title] = item


def _check_protocols(runs: Sequence[Run]) -> None:
    """Scores under different protocols are not comparable, so they must not share a table."""
    scored = [item for item in runs if item.protocol is not None]
    for item in scored[1:]:
        first = scored[0]
        assert first.protocol is not None
        assert item.protocol is not None
        different = _differences(first.protocol, item.protocol)
        if different:
            raise UsageError(
                f"runs of different protocols cannot share a report: {first.title} is "
                f"{protocol_name(first.protocol, different)}, {item.title} is "
                f"{protocol_name(item.protocol, different)}; report them separately"
            )


def _differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The settings that differ; a missing setting of an agent (None) does not count."""
    names = [name for name in first.keys() | second.keys() if name != "name"]
    return sorted(
        name for name in names if None not in (values := (first.get(name), second.get(name))) and values[0] != values[1]
    )


def protocol_name(protocol: Mapping[str, Any], settings: Sequence[str] = ()) -> str:
    """A protocol's name, or "custom" with the given settings."""
    if protocol["name"] is not None:
        return str(protocol["name"])
    return f"custom ({', '.join(f'{name} {protocol[name]}' for name in settings)})" if settings else "custom"
