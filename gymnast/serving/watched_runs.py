"""The runs of a folder as they go on: what each is, how far it has come, and its curves, read as they are written."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gymnast.errors import UsageError
from gymnast.reports import gather
from gymnast.storage.folder import read_config

LOOK_SECONDS = 3.0
"""Seconds between two searches of the folder for runs."""
SILENT_SECONDS = 120.0
"""A run that has written nothing for this long, and has not ended, counts as stopped."""
POINTS = 400
"""Points of a curve, at most: of longer ones neighbours are averaged."""
REMEMBERED = 64
"""Bytes before the place read so far, by which a log that was cut and written anew is noticed."""
NOT_MEASURED = frozenset(("kind", "env_step", "seed", "episodes"))
"""Fields of a record that are no curve."""
VIDEOS = (".mp4", ".gif")
Curve = tuple[list[float], list[float]]
"""Env steps and values."""


class Log:
    """The records of one run, of which only what is new is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._forget()

    def _forget(self) -> None:
        self.size = 0
        """Bytes read so far."""
        self.step = 0
        self.ended = False
        self.final: float | None = None
        """Mean return of the last evaluation of all."""
        self.last: dict[str, float] = {}
        """The newest value of every curve."""
        self.best: float | None = None
        """The greatest mean return of a scheduled evaluation."""
        self._before = b""
        self._curves: dict[str, tuple[list[float], list[float]]] = {}

    @property
    def names(self) -> list[str]:
        """The curves, as KIND/FIELD."""
        return list(self._curves)

    def read(self) -> None:
        """Read the lines that were written since the last call; from the beginning if a resumed run has cut them."""
        try:
            with open(self._path, "rb") as file:
                start = self.size - len(self._before)
                file.seek(start)
                text = file.read()
                if not text.startswith(self._before):
                    self._forget()
                    file.seek(0)
                    text = file.read()
        except OSError:  # not there yet
            return
        new = text[len(self._before) :]
        new = new[: new.rfind(b"\n") + 1]
        for line in new.splitlines():
            self._add(line)
        self.size += len(new)
        self._before = (self._before + new)[-REMEMBERED:]

    def _add(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            kind, step = str(record["kind"]), int(record["env_step"])
        except (ValueError, KeyError, TypeError):  # a damaged line hides no others
            return
        self.step, self.ended = max(self.step, step), kind == "final"
        if self.ended:
            score = record.get("mean_return")
            self.final = float(score) if isinstance(score, int | float) else None
            return
        for name, value in record.items():
            if name in NOT_MEASURED or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            steps, values = self._curves.setdefault(f"{kind}/{name}", ([], []))
            steps.append(step)
            values.append(float(value))
            self.last[f"{kind}/{name}"] = float(value)
        if kind == "eval" and isinstance(record.get("mean_return"), int | float):
            self.best = max(record["mean_return"], -np.inf if self.best is None else self.best)

    def curve(self, name: str) -> Curve:
        """A curve of at most `POINTS` points; empty if there is none of the name."""
        steps, values = self._curves.get(name, ([], []))
        if len(steps) <= POINTS:
            return steps, values
        edges = np.linspace(0, len(steps), POINTS + 1).astype(int)[:-1]
        counts = np.diff([*edges, len(steps)])
        return tuple((np.add.reduceat(np.asarray(axis), edges) / counts).tolist() for axis in (steps, values))


@dataclass
class Watched:
    """One run."""

    path: Path
    config: dict[str, Any]
    written: int
    """When its config was, in nanoseconds."""
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.log = Log(self.path / "metrics.jsonl")

    @property
    def videos(self) -> list[str]:
        """Names of its videos."""
        folder = self.path / "videos"
        found = folder.iterdir() if folder.is_dir() else iter(())
        return sorted(file.name for file in found if file.suffix in VIDEOS and not file.name.startswith("."))

    def state(self) -> str:
        """Whether it is ended, running or stopped, by what it has written."""
        if self.log.ended:
            return "ended"
        written = max(_written(self.path / name) for name in ("timing.jsonl", "metrics.jsonl", "config.json"))
        return "running" if time.time() - written / 1e9 < SILENT_SECONDS else "stopped"

    def about(self, label: str) -> dict[str, Any]:
        run, log = self.config["run"], self.log
        return {
            "env": run.get("env"),
            "agent": self.config["agent"],
            "label": label,
            "seed": run.get("seed"),
            "name": self.path.name,
            "started": self.config.get("started"),
            "state": self.state(),
            "step": log.step,
            "steps": run.get("steps"),
            "last": log.last,
            "best": log.best,
            "final": log.final,
            "curves": log.names,
            "videos": self.videos,
        }


class WatchedRuns:
    """All runs of a folder, by their path in it."""

    def __init__(self, root: Path, *, name: str | None = None, fetch: Callable[[], None] = lambda: None) -> None:
        """`name` is what the page calls the folder; `fetch` is called before each search, if the folder is a copy."""
        self.root, self.name, self._fetch = root, name or str(root), fetch
        self.runs: dict[str, Watched] = {}
        self._labels: dict[str, str] = {}
        self._looked = -LOOK_SECONDS
        self._lock = threading.Lock()

    def refreshed(self) -> dict[str, Any]:
        """Read what all runs have written, and now and then look for new ones; then what each is, by its path."""
        with self._lock:
            self._refresh()
            return {name: run.about(self._labels[name]) for name, run in self.runs.items()}

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._look()
            self._looked = now
        for run in self.runs.values():
            run.log.read()

    def _look(self) -> None:
        self._fetch()
        try:
            paths = gather.find([str(self.root)])
        except UsageError:  # none yet
            paths = []
        found = {}
        for path in paths:
            name = path.relative_to(self.root).as_posix()
            known, written = self.runs.get(name), _written(path / "config.json")
            if known is None or known.written != written:
                try:
                    known = Watched(path, read_config(path), written)
                except UsageError:  # not a run's
                    continue
            found[name] = known
        if found.keys() != self.runs.keys() or any(found[name] is not self.runs[name] for name in found):
            labels = gather.labelled([run.path for run in found.values()])
            self._labels = {name: labels[run.path] for name, run in found.items()}
        self.runs = found

    def curves(self, env: str, name: str) -> dict[str, Curve]:
        """One curve of each run in an environment."""
        with self._lock:
            those = {path: run for path, run in self.runs.items() if run.config["run"].get("env") == env}
            found = {path: run.log.curve(name) for path, run in those.items()}
        return {path: curve for path, curve in found.items() if curve[0]}

    def version(self) -> str:
        """What changes whenever a curve does."""
        return "-".join(f"{run.log.size}" for run in self.runs.values())

    def video(self, run: str, name: str) -> Path | None:
        """A video's file; None if the run has no such one."""
        found = self.runs.get(run)
        return found.path / "videos" / name if found is not None and name in found.videos else None


def _written(path: Path) -> int:
    """When a file was written last, in nanoseconds; 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
