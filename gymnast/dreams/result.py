"""What `gymnast dream` found: a table, and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from gymnast.evaluation.result import Evaluation
from gymnast.output.table_text import table_text

SHOWN = (1, 2, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000)
"""Horizons of the table."""
STATISTICS = ("mean", "lower_quartile", "median", "upper_quartile")


@dataclass(frozen=True)
class Curve:
    """An error against the horizon: statistics over the predictions, each [H]; NaN where no episode went so far."""

    mean: np.ndarray
    lower_quartile: np.ndarray
    median: np.ndarray
    upper_quartile: np.ndarray

    @staticmethod
    def of(errors: np.ndarray, known: np.ndarray) -> Curve:
        """From errors [K, H] where they are known, bool [K, H]."""
        found = np.full((4, errors.shape[1]), np.nan)
        for step in range(errors.shape[1]):
            values = errors[known[:, step], step].astype(np.float64)
            if len(values):
                found[0, step] = values.mean()
                found[1:, step] = np.quantile(values, (0.25, 0.5, 0.75))
        return Curve(*found)

    def at(self, step: int) -> str:
        """The mean and the quartiles so many steps ahead."""
        mean, low, high = (values[step - 1] for values in (self.mean, self.lower_quartile, self.upper_quartile))
        return "-" if np.isnan(mean) else f"{_number(mean)} ({_number(low)}-{_number(high)})"

    def as_json(self) -> dict[str, list[float]]:
        return {name: getattr(self, name).tolist() for name in STATISTICS}


@dataclass(frozen=True)
class Quantity:
    """What is predicted, and its error."""

    name: str
    unit: str
    model: Curve
    baseline: Curve
    baseline_name: str

    def as_json(self) -> dict[str, Any]:
        baseline = {"baseline": self.baseline_name, "baseline_error": self.baseline.as_json()}
        return {"unit": self.unit, "error": self.model.as_json(), **baseline}


@dataclass(frozen=True)
class DreamResult:
    """A world model beside its environment."""

    run: str
    agent: str
    env: str
    settings: Mapping[str, Any]
    """Options that decide the numbers."""
    steps: int
    """Real steps that were recorded."""
    count: np.ndarray
    """int64 [H], predictions whose real episode went on to each horizon."""
    quantities: tuple[Quantity, ...]
    inside: Evaluation
    """The agent's episodes in its own dream."""
    outside: Evaluation
    """Its episodes in the real environment."""
    files: dict[str, Path] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "agent": self.agent,
            "env": self.env,
            **self.settings,
            "steps": self.steps,
            "predictions": self.count.tolist(),
            **{quantity.name: quantity.as_json() for quantity in self.quantities},
            "inside": self.inside.as_json(),
            "outside": self.outside.as_json(),
        }

    def as_text(self) -> str:
        """A table with a row for each of some horizons, then the returns and the files."""
        number, watched = int(self.count[0]), self.settings["context"]
        lines = [
            f"world model of {self.run} ({self.agent}) beside {self.env}",
            f"{number:,} predictions from {self.steps:,} real steps, each after watching {watched} steps",
            "mean error (quartiles), and that of a simple guess",
            "",
            table_text(self._table()),
            "",
            *(f"{quantity.name} in units of: {quantity.unit}" for quantity in self.quantities),
            f"return inside the dream   {_returns(self.inside)}",
            f"return outside            {_returns(self.outside)}",
            *(f"{name:<10}{path}" for name, path in self.files.items()),
        ]
        return "\n".join(lines)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        names = [name for quantity in self.quantities for name in (quantity.name, quantity.baseline_name)]
        for name in ("steps ahead", "predictions", *names):
            table.add_column(name, justify="right", no_wrap=True)
        last = len(self.count)
        for step in [step for step in SHOWN if step < last] + [last]:
            cells = [f"{step:,}", f"{self.count[step - 1]:,}"]
            for quantity in self.quantities:
                cells += [quantity.model.at(step), _number(quantity.baseline.mean[step - 1])]
            table.add_row(*cells)
        return table


def _returns(found: Evaluation) -> str:
    values = found.as_json()
    return f"{values['mean_return']:.2f} ± {values['std_return']:.2f} over {values['episodes']} episodes"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}" if value < 1000 else f"{value:.3g}"
