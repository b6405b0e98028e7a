"""Pictures of a fitted network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gymnast.agents.supervised.shown import ConfusionMatrix, ImageGrid, Scatter, Shown
from gymnast.storage import metrics_log

POINTS = 2_000
"""Points of a scatter plot, at most."""
NUMBERED = 20
"""Classes of a confusion matrix whose cells show their counts."""


def draw(shown: Mapping[str, Shown], folder: Path) -> dict[str, Path]:
    """Write a PNG of each into the folder; returns the files by name. Raises OSError if one cannot be written."""
    files = {}
    for name, item in shown.items():
        if isinstance(item, ConfusionMatrix):
            made = _confusion(item)
        else:
            made = _grid(item) if isinstance(item, ImageGrid) else _scatter(item)
        files[name] = folder / f"{name}.png"
        made.savefig(files[name])
    return files


def curve(folder: Path, metric: str) -> Path:
    """Write curve.png: the loss of the updates, and the metric of the evaluations, from metrics.jsonl."""
    rows = metrics_log.read(folder / "metrics.jsonl")
    made = _figure((8, 4.5))
    axes = made.add_subplot()
    fitted = [(row["update"], row["loss"]) for row in rows if row["kind"] == "fit" and row["loss"] is not None]
    if fitted:
        axes.plot(*zip(*fitted, strict=True), color="C0", alpha=0.7, label="training loss")
    axes.set_xlabel("updates")
    axes.set_ylabel("loss")
    measured = [(row["update"], row[metric]) for row in rows if row["kind"] == "eval" and row[metric] is not None]
    if measured:
        other = axes.twinx()
        other.plot(*zip(*measured, strict=True), "o-", color="C1", markersize=3, label=f"validation {metric}")
        other.set_ylabel(metric.replace("_", " "))
    axes.set_title("/".join(folder.parts[-3:-1]))
    axes.grid(alpha=0.3)
    made.legend(loc="outside lower center", ncols=2)
    made.savefig(folder / "curve.png")
    return folder / "curve.png"


def line(points: Sequence[tuple[float, float]], file: Path, *, labels: tuple[str, str]) -> Path:
    """Write a PNG of points (x, y) on a line, with the labels of both axes. Raises OSError."""
    made = _figure((6, 4))
    axes = made.add_subplot()
    axes.plot(*zip(*sorted(points), strict=True), "o-", markersize=3)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.3)
    made.savefig(file)
    return file


def _confusion(matrix: ConfusionMatrix) -> Any:
    counts = matrix.counts.double().numpy()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = len(matrix.classes)
    made = _figure((max(4.5, 0.5 * size + 2), max(4.0, 0.5 * size + 1.2)) if size <= NUMBERED else (8, 7))
    axes = made.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    made.colorbar(image, label="share of the class")
    if size <= NUMBERED:
        axes.set_xticks(range(size), matrix.classes, rotation=45 if max(map(len, matrix.classes)) > 3 else 0)
        axes.set_yticks(range(size), matrix.classes)
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                color = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {np.trace(counts) / counts.sum():.2%}")
    return made


def _scatter(scatter: Scatter) -> Any:
    made = _figure((5, 5))
    axes = made.add_subplot()
    output, target = scatter.output.flatten(), scatter.target.flatten()
    step = max(len(output) // POINTS, 1)
    axes.plot(output[::step].numpy(), target[::step].numpy(), ".", alpha=0.4)
    low, high = float(min(output.min(), target.min())), float(max(output.max(), target.max()))
    axes.plot([low, high], [low, high], color="black", linewidth=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.grid(alpha=0.3)
    return made


def _grid(grid: ImageGrid) -> Any:
    images = grid.images.float().numpy()
    rows, columns = images.shape[:2]
    made = _figure((0.8 * columns + (0.9 if grid.titles else 0.2), 0.8 * rows + 0.2))
    low, high = float(images.min()), float(images.max())
    every = made.subplots(rows, columns, squeeze=False)
    for row, column in np.ndindex(rows, columns):
        axes = every[row, column]
        axes.imshow(images[row, column], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        if grid.titles and column == 0:
            axes.set_ylabel(grid.titles[row], rotation=0, ha="right", va="center", fontsize=8)
    return made


def _figure(size: tuple[float, float]) -> Any:
    # Half a second to import, and needed once at a run's end. A bare Figure needs no display and no global state.
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=120, layout="constrained")
