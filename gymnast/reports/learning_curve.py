"""Figures of logged values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gymnast.storage import metrics_log


def learning_curve(runs: Sequence[Path], out: Path) -> None:
    """Draw the return against env steps, from each run's metrics.jsonl, as a PNG.

    The line is the training return (mean of the last 100 episodes, while exploring), the points are evaluations with
    their standard deviation over episodes. Raises OSError and ValueError if a log cannot be read or the picture
    cannot be written.
    """
    figure(runs).savefig(out)


def figure(runs: Sequence[Path]) -> Any:
    """The matplotlib figure of `learning_curve`."""
    # Half a second to import, and needed once at a run's end. A bare Figure needs no display and no global state.
    from matplotlib.figure import Figure

    made = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = made.add_subplot()
    for index, run in enumerate(runs):
        label = f"{run.name}: " if len(runs) > 1 else ""
        draw(axes, metrics_log.read(run / "metrics.jsonl"), color=f"C{index}", label=label)
    axes.set_xlabel("env steps")
    axes.set_ylabel("return")
    axes.set_title("\n".join(sorted({"/".join(run.parts[-3:-1]) for run in runs})))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        made.legend(loc="outside lower center", ncols=2)  # outside the axes, so that it covers no point
    return made


def draw(axes: Any, rows: list[dict[str, Any]], *, color: str, label: str) -> None:
    """Draw one run's records into matplotlib axes; records without a return (no episode has ended yet) are left out."""
    train = [
        (row["env_step"], row["return_mean"])
        for row in rows
        if row["kind"] == "train" and row.get("return_mean") is not None
    ]
    evaluations = [
        (row["env_step"], row["mean_return"], row.get("std_return", 0.0))
        for row in rows
        if row["kind"] == "eval" and row["mean_return"] is not None
    ]
    if train:
        steps, returns = zip(*train, strict=True)
        axes.plot(steps, returns, color=color, alpha=0.6, label=f"{label}training, mean of 100 episodes")
    if evaluations:
        steps, means, deviations = zip(*evaluations, strict=True)
        axes.errorbar(
            steps, means, yerr=deviations, color=color, fmt="o-", markersize=4, capsize=2, label=f"{label}evaluation"
        )
