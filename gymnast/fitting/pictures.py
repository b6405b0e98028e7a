"""Pictures of a fitted network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gymnast.agents.supervised.shown import Bars, Clouds, ConfusionMatrix, Grid, Line, Scatter, Shown
from gymnast.storage import metrics_log

POINTS = 2_000
"""Points of a scatter plot, at most."""
PANELS = 3
"""Clouds of points beside each other."""
NUMBERED = 20
"""Classes of a confusion matrix whose cells show their counts."""


def draw(shown: Mapping[str, Shown], folder: Path) -> dict[str, Path]:
    """Write a PNG of each into the folder; returns the files by name. Raises OSError if one cannot be written."""
    files = {}
    for name, item in shown.items():
        made = _made(item)
        files[name] = folder / f"{name}.png"
        made.savefig(files[name])
    return files


def curve(folder: Path, metric: str) -> Path:
    """Write curve.png: the loss of the updates, and the metric of the evaluations, from metrics.jsonl."""
    rows = metrics_log.read(folder / "metrics.jsonl")
    made = _figure((8, 4.5))
    axes = made.add_subplot()
    fitted = [row for row in rows if row["kind"] == "fit"]
    names = [name for row in fitted[:1] for name in row]
    losses = ["loss"] if "loss" in names else [name for name in names if name.endswith("_loss")]
    for number, name in enumerate(losses):
        points = [(row["update"], row[name]) for row in fitted if row.get(name) is not None]
        axes.plot(
            *zip(*points, strict=True), color=f"C{2 * number}", alpha=0.7, label=f"training {name.replace('_', ' ')}"
        )
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


def _made(item: Shown) -> Any:
    if isinstance(item, ConfusionMatrix):
        return _confusion(item)
    if isinstance(item, Grid):
        return _grid(item)
    if isinstance(item, Scatter):
        return _scatter(item)
    if isinstance(item, Clouds):
        return _clouds(item)
    return _bars(item) if isinstance(item, Bars) else _line(item)


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


def _grid(grid: Grid) -> Any:
    rows, columns, height, width, _ = grid.images.shape
    edge = max(1, height // 20, width // 20)
    whole = np.ones((rows * (height + edge) - edge, columns * (width + edge) - edge, 3))
    for row, column in np.ndindex(rows, columns):
        top, left = row * (height + edge), column * (width + edge)
        whole[top : top + height, left : left + width] = grid.images[row, column].clamp(0.0, 1.0).numpy()
    wide = 9.0
    tall = wide * whole.shape[0] / whole.shape[1] if height > 1 else 0.4 * rows
    made = _figure((wide + 1.2, max(tall, 0.5) + 0.2))
    axes = made.add_subplot()
    axes.imshow(whole, interpolation="nearest", aspect="equal" if height > 1 else "auto")
    axes.set_xticks([])
    axes.set_yticks([row * (height + edge) + (height - 1) / 2 for row in range(rows)], grid.rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return made


def _clouds(clouds: Clouds) -> Any:
    columns = min(len(clouds.panels), PANELS)
    rows = -(-len(clouds.panels) // columns)
    side = 5.0 if columns == 1 else 2.6
    made = _figure((side * columns, side * rows))
    every = made.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    middle, reach = clouds.real.mean(0), float((clouds.real - clouds.real.mean(0)).abs().max()) * 1.2 + 1e-6
    for axes in every.flat[len(clouds.panels) :]:
        axes.set_visible(False)
    for axes, (name, points) in zip(every.flat, clouds.panels.items(), strict=False):
        axes.plot(*clouds.real.T.numpy(), ".", color="0.8", markersize=3, label="data")
        axes.plot(*points.T.numpy(), ".", color="C0", markersize=2, alpha=0.5, label="generated")
        axes.set_xlim(float(middle[0]) - reach, float(middle[0]) + reach)
        axes.set_ylim(float(middle[1]) - reach, float(middle[1]) + reach)
        axes.set_aspect("equal")
        axes.set_title(name, fontsize=9)
    made.supxlabel(clouds.xlabel)
    made.supylabel(clouds.ylabel)
    every.flat[0].legend(loc="upper right", fontsize=7)
    return made


def _bars(bars: Bars) -> Any:
    made = _figure((7, 3.5))
    axes = made.add_subplot()
    axes.bar(range(len(bars.numbers)), bars.numbers.numpy(), width=1.0)
    axes.set_xlabel(bars.xlabel)
    axes.set_ylabel(bars.ylabel)
    axes.grid(alpha=0.3)
    return made


def _line(line: Line) -> Any:
    made = _figure((6, 4))
    axes = made.add_subplot()
    axes.plot(*zip(*line.points, strict=True), "o-", markersize=3)
    axes.set_xlabel(line.xlabel)
    axes.set_ylabel(line.ylabel)
    axes.grid(alpha=0.3)
    return made


def _figure(size: tuple[float, float]) -> Any:
    # Half a second to import, and needed once at a run's end. A bare Figure needs no display and no global state.
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=120, layout="constrained")
