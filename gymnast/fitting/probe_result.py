"""The scores of linear probes, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from gymnast.output.table_text import table_text

REPRESENTATIONS = ("encoder", "random", "raw")


@dataclass(frozen=True)
class Score:
    """A target's scores on the test episodes: R2 of numbers (the mean over all of them), accuracy of classes."""

    name: str
    measure: str
    """R2 or accuracy."""
    outputs: int
    """How many numbers, or classes."""
    values: Mapping[str, tuple[float, ...]]
    """Of each representation, one for each repeat; nan where the target is constant in the test episodes."""
    chance: float
    """Of a guess that ignores the features: the mean, or the most frequent class."""

    def mean(self, representation: str) -> float:
        return _over(np.mean, self.values[representation])

    def spread(self, representation: str) -> float:
        """Standard deviation over the repeats."""
        return _over(np.std, self.values[representation])

    def as_json(self) -> dict[str, Any]:
        scores = {
            name: {"mean": self.mean(name), "std": self.spread(name), "values": list(values)}
            for name, values in self.values.items()
        }
        return {"measure": self.measure, "outputs": self.outputs, "chance": self.chance, **scores}


def _over(function: Any, values: tuple[float, ...]) -> float:
    """A statistic of the values that exist; nan if none does."""
    known = [value for value in values if not np.isnan(value)]
    return float(function(known)) if known else float("nan")


@dataclass(frozen=True)
class ProbeResult:
    """What `gymnast probe` found."""

    what: str
    """The run or the network."""
    network: str
    env: str
    settings: Mapping[str, Any]
    """Options that decide the numbers."""
    episodes: int
    features: Mapping[str, str]
    """How many features each representation has, in words."""
    scores: tuple[Score, ...]
    left_out: Mapping[str, str]
    """Constant targets and values, with the reason."""
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def representations(self) -> tuple[str, ...]:
        return tuple(self.features)

    @property
    def named(self) -> str:
        return self.network if self.what == self.network else f"{self.what} ({self.network})"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "network": self.network,
            "env": self.env,
            **self.settings,
            "episodes": self.episodes,
            "features": dict(self.features),
            "targets": {score.name: score.as_json() for score in self.scores},
            "left_out": dict(self.left_out),
        }

    def as_text(self) -> str:
        """A table with a row for each target, then what was left out and the files."""
        steps, repeats = self.settings["steps"], self.settings["repeats"]
        lines = [
            f"linear probes of {self.named}",
            f"{steps:,} steps in {self.episodes:,} episodes of {self.env}, mean and standard deviation over "
            f"{_count(repeats, 'split')} by episode",
            "",
            table_text(self._table(), width=120),
            "",
            *(f"features of {name}: {told}" for name, told in self.features.items()),
            *(f"left out: {name}, because {reason}" for name, reason in self.left_out.items()),
            *(f"{name:<10}{path}" for name, path in self.files.items()),
        ]
        return "\n".join(lines)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("target", "measure", *self.representations, "chance"):
            table.add_column(column, justify="left" if column in ("target", "measure") else "right", no_wrap=True)
        for score in self.scores:
            cells = [f"{_number(score.mean(name))} ± {_number(score.spread(name))}" for name in self.representations]
            table.add_row(score.name, score.measure, *cells, _number(score.chance))
        return table


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
