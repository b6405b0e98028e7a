"""A comparison's figures, as PNG. A bare Figure needs no display and no global state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from gymnast.reports.comparison import Comparison
from gymnast.reports.statistics import CONFIDENCE, STATISTICS, Array, Band, Interval

BAND = f"{CONFIDENCE:.0%} bootstrap interval"
PANELS = 4
"""Panels per row for few games; many games are arranged in a square."""
DISTINCT = 20
"""Number of agents with distinct colours; more are mostly values of a setting, whose colours follow their order."""
LISTED = 40
"""Maximum number of agents in a legend."""


Drawer: TypeAlias = Callable[[Comparison], Any]


def draw_all(found: Comparison, out: Path, *, more: Mapping[str, Drawer]) -> list[Path]:
    """Draw all figures that the numbers allow, `more` first, one file each; returns their paths. Raises OSError."""
    drawers: dict[str, tuple[bool, Drawer]] = {
        **{name: (True, draw) for name, draw in more.items()},
        "curves.png": (any(len(moments) > 1 for moments, _ in found.curves.values()), curves),
        "aggregates.png": (bool(found.statistics), aggregates),
        "profiles.png": (bool(found.profiles), profiles),
        "efficiency.png": (len(found.moments) > 1, efficiency),
        "improvement.png": (bool(found.improvements), improvements),
    }
    paths = []
    for name, (possible, draw) in drawers.items():
        if possible:
            draw(found).savefig(out / name)
            paths.append(out / name)
    return paths


def curves(found: Comparison) -> Any:
    """Mean return against env steps, one panel per game."""
    games = [game for game, (moments, _) in found.curves.items() if len(moments) > 1]
    columns = min(len(games), max(PANELS, math.ceil(math.sqrt(len(games)))))
    rows = math.ceil(len(games) / columns)
    figure = new_figure(max(4.2 * columns, 7.0), 3.2 * rows + 0.4 + legend_height(found.table.agents, 4.2 * columns))
    looks = colours(found.table.agents)
    for index, game in enumerate(games):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw_curves(axes, *found.curves[game], looks=looks)
        axes.set_title(game, fontsize=10)
        if index % columns == 0:
            axes.set_ylabel(return_name(found))
    figure.suptitle(f"Mean return over seeds, with its {BAND}", fontsize=11)
    legend_below(figure)
    return figure


def draw_curves(axes: Any, moments: Array, bands: Mapping[str, Band], *, looks: Mapping[str, Any]) -> None:
    """Curves with their bands into matplotlib axes, env steps along x."""
    for agent, band in bands.items():
        axes.plot(moments, band.value, color=looks[agent], label=agent, linewidth=1.6)
        axes.fill_between(moments, band.low, band.high, color=looks[agent], alpha=0.15, linewidth=0)
    axes.set_xlabel("env steps")
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.grid(alpha=0.3)


def aggregates(found: Comparison) -> Any:
    """Each statistic with its interval, one panel each, one row per agent."""
    agents = found.table.agents
    figure = new_figure(11.0, 1.5 + 0.34 * len(agents))
    looks = colours(agents)
    for index, name in enumerate(STATISTICS):
        axes = figure.add_subplot(1, len(STATISTICS), index + 1)
        values = {agent: found.statistics[agent][name] for agent in agents}
        draw_points(axes, values, looks=looks, labels=index == 0)
        axes.set_title(f"{name} ({'lower' if name == 'optimality gap' else 'higher'} is better)", fontsize=9)
        axes.set_xlabel(score_name(found), fontsize=9)
    figure.suptitle(f"Final scores {_span(found)}, with their {BAND}", fontsize=11)
    return figure


def draw_points(axes: Any, values: Mapping[str, Interval], *, looks: Mapping[str, Any], labels: bool = True) -> None:
    """A point and its interval for each name, one below the other; names along y if `labels`."""
    for row, (name, value) in enumerate(values.items()):
        if not math.isnan(value.low):
            axes.plot(
                [value.low, value.high], [row, row], color=looks[name], linewidth=5, alpha=0.4, solid_capstyle="butt"
            )
        axes.plot([value.value], [row], "o", color=looks[name], markersize=6)
    axes.set_yticks(range(len(values)), list(values) if labels else [""] * len(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.grid(alpha=0.3, axis="x")


def profiles(found: Comparison) -> Any:
    """The share of runs above each score."""
    figure = new_figure(7.5, 4.2 + legend_height(found.table.agents, 7.5))
    axes = figure.add_subplot()
    for agent, look in colours(found.table.agents).items():
        band = found.profiles[agent]
        axes.plot(found.thresholds, band.value, color=look, label=agent, linewidth=1.6, drawstyle="steps-post")
        axes.fill_between(found.thresholds, band.low, band.high, color=look, alpha=0.15, linewidth=0, step="post")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(score_name(found))
    axes.set_ylabel("share of runs above it")
    axes.grid(alpha=0.3)
    figure.suptitle(f"Performance profiles {_span(found)}, with their {BAND}", fontsize=11)
    legend_below(figure)
    return figure


def efficiency(found: Comparison) -> Any:
    """IQM against env steps."""
    figure = new_figure(7.5, 4.2 + legend_height(found.table.agents, 7.5))
    axes = figure.add_subplot()
    draw_curves(axes, found.moments, found.efficiency, looks=colours(found.table.agents))
    axes.set_ylabel(f"IQM of the {score_name(found)}")
    figure.suptitle(f"Sample efficiency {_span(found)}, with its {BAND}", fontsize=11)
    legend_below(figure)
    return figure


def improvements(found: Comparison) -> Any:
    """The probability that one agent improves on another, one row per pair."""
    figure = new_figure(8.0, 1.4 + 0.34 * len(found.improvements))
    axes = figure.add_subplot()
    values = {f"{first} over {second}": value for (first, second), value in found.improvements.items()}
    draw_points(axes, values, looks=dict.fromkeys(values, "C0"))
    axes.axvline(0.5, color="0.4", linewidth=1, linestyle="--")
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("probability that a run of the first scores above one of the second")
    figure.suptitle(f"Probability of improvement {_span(found)}, with its {BAND}", fontsize=11)
    return figure


def colours(agents: Sequence[str]) -> dict[str, Any]:
    """A colour for each agent: ten distinct ones, or twenty, or else from dark to bright."""
    from matplotlib import colormaps

    if len(agents) > DISTINCT:
        return {agent: colormaps["viridis"](index / (len(agents) - 1)) for index, agent in enumerate(agents)}
    colourmap = colormaps["tab10" if len(agents) <= 10 else "tab20"]
    return {agent: colourmap(index % colourmap.N) for index, agent in enumerate(agents)}


def score_name(found: Comparison) -> str:
    """Axis label of a normalized score."""
    return "human-normalized score" if found.table.human else "normalized score"


def return_name(found: Comparison) -> str:
    """Axis label of the curves' returns."""
    return "return of evaluations" if found.table.evaluated else "return in training"


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches."""
    from matplotlib.figure import Figure  # half a second to import

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def legend_below(figure: Any) -> None:
    """One legend for all panels, below them so that it covers no point, in as many columns as fit."""
    lines: dict[str, Any] = {}
    for axes in figure.axes:
        lines |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = _listed(list(lines))
    columns = _legend_columns(labels, figure.get_figwidth())
    handles = [lines[label] for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)


def legend_height(labels: Sequence[str], width: float) -> float:
    """Inches that `legend_below` takes."""
    labels = _listed(labels)
    return 0.3 + 0.2 * math.ceil(len(labels) / _legend_columns(labels, max(width, 7.0)))


def _listed(labels: Sequence[str]) -> list[str]:
    """The labels of a legend: all, or if too many, an evenly spaced selection with the first and the last."""
    last, count = len(labels) - 1, min(len(labels), LISTED)
    return [labels[round(index * last / max(count - 1, 1))] for index in range(count)]


def _legend_columns(labels: Sequence[str], width: float) -> int:
    return max(1, min(len(labels), int(width / (0.6 + 0.085 * max(map(len, labels))))))


def _span(found: Comparison) -> str:
    games = len(found.table.shared)
    return f"over {games} games" if games > 1 else f"on {found.table.shared[0]}"


def _short(value: float) -> str:
    """A number on an axis: 250k, 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return f"{round(value, 6) + 0.0:.6g}"
