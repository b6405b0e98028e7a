"""Pictures of a table: values as colours and greedy actions as arrows on the environment's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gymnast.agents.base import ActionValueTable, Agent, StateValueTable
from gymnast.envs.env import Env
from gymnast.envs.rows.serial import SerialEnv

UP, RIGHT, DOWN, LEFT = (0, -1), (1, 0), (0, 1), (-1, 0)  # columns and rows, downwards as matrices are drawn
ARROWS = {  # the moves of the known grids' actions
    "FrozenLakeEnv": [LEFT, DOWN, RIGHT, UP],
    "CliffWalkingEnv": [UP, RIGHT, DOWN, LEFT],
    "TaxiEnv": [DOWN, UP, RIGHT, LEFT],
    "Chain": [LEFT, RIGHT],
}
TAXI_PLACES = ("red", "green", "yellow", "blue", "in the taxi")
TAXI_CELLS = ((0, 0), (0, 4), (4, 0), (4, 3))
TIE = 1e-9


def draw(path: str | Path, agent: Agent | np.ndarray, env: Env) -> None:
    """Draw an agent's table, or one given as values [S] or Q [S, A], on the env's grid, as PNG, PDF or SVG.

    Equally good actions all get an arrow. If there is a table for each number of remaining steps, that of the first
    step is drawn. Environments without a known grid get a strip of values. Raises ValueError if the agent has no table,
    OSError if the file cannot be written.
    """
    table = _table(agent)
    base: Any = env.rows[0].env.unwrapped if isinstance(env, SerialEnv) else None
    kind = type(base).__name__
    values = table.max(1) if table.ndim == 2 else table
    if kind == "TaxiEnv":
        figure = _taxi(table, values, base)
    elif kind in ARROWS:
        rows, columns = _shape(kind, base)
        figure = Figure(figsize=(max(0.85 * columns + 1.6, 4.0), 0.85 * rows + 1.0), layout="constrained")
        axes = figure.add_subplot()
        limits = _limits(values[_inside(kind, base)])
        image = _grid(axes, values.reshape(rows, columns), limits=limits)
        for state in np.flatnonzero(_inside(kind, base)).tolist():
            place, ink = divmod(state, columns), _ink(values[state], limits)
            directions = _best(table, state, ARROWS[kind])
            _arrows(axes, place, directions, ink=ink, below=0.12)
            text: Any = {"ha": "center", "va": "center", "color": ink, "fontsize": 8}
            axes.text(place[1], place[0] - (0.32 if directions else 0.0), f"{values[state]:.3g}", **text)
        _letters(axes, kind, base, columns)
        figure.colorbar(image, ax=axes, label="value", shrink=0.9)
    else:
        figure = _strip(table, values)
    figure.suptitle(env.id)
    FigureCanvasAgg(figure)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _table(agent: Agent | np.ndarray) -> np.ndarray:
    """Values [S] or Q [S, A] of an agent; with a finite horizon those of the first step."""
    if isinstance(agent, np.ndarray):
        return agent
    if isinstance(agent, StateValueTable):
        table, ndim = agent.value_table(), 1
    elif isinstance(agent, ActionValueTable):
        table, ndim = agent.q_table(), 2
    else:
        raise ValueError(f"picture needs an agent with a table of values, but {type(agent).__name__} has none")
    return np.asarray(table[0] if table.ndim > ndim else table)


def _shape(kind: str, base: Any) -> tuple[int, int]:
    if kind == "FrozenLakeEnv":
        return base.nrow, base.ncol
    return base.shape if kind == "CliffWalkingEnv" else (1, base.length)


def _inside(kind: str, base: Any) -> np.ndarray:
    """The states in which an action matters, bool [S]."""
    if kind == "FrozenLakeEnv":
        return np.isin(base.desc.flatten(), [b"S", b"F"])
    if kind == "CliffWalkingEnv":
        inside = ~base._cliff.flatten()
        inside[-1] = False
        return np.asarray(inside)
    return np.ones(base.length, np.bool_)


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _grid(axes: Axes, values: np.ndarray, *, limits: tuple[float, float]) -> Any:
    """Values [rows, columns] as colours, with lines between the cells."""
    image = axes.imshow(values, cmap="viridis", vmin=limits[0], vmax=limits[1])
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, labels=[])
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, labels=[])
    axes.grid(color="white", linewidth=1)
    axes.tick_params(length=0)
    return image


def _best(table: np.ndarray, state: int, arrows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The moves of a state's best actions; empty if the table has no actions or all are equally good."""
    if table.ndim == 1:
        return []
    best = table[state] >= table[state].max() - TIE
    return [] if best.all() else [arrows[action] for action in np.flatnonzero(best) if action < len(arrows)]


def _ink(value: float, limits: tuple[float, float]) -> str:
    """A text colour that is readable on a value's colour."""
    return "black" if value > limits[0] + 0.7 * (limits[1] - limits[0]) else "white"


def _arrows(
    axes: Axes, place: tuple[int, int], directions: list[tuple[int, int]], *, ink: str, below: float, head: float = 10.0
) -> None:
    """Arrows from a cell's middle, a single one centred on it; `below` shifts them to make room for a number."""
    row, column = place
    back = -0.16 if len(directions) == 1 else 0.0
    style = {"arrowstyle": "-|>", "color": ink, "linewidth": 1.4, "mutation_scale": head, "shrinkA": 0, "shrinkB": 0}
    for right, down in directions:
        tail = (column + back * right, row + below + back * down)
        tip = (column + (back + 0.33) * right, row + below + (back + 0.33) * down)
        axes.annotate("", tip, tail, arrowprops=style)


def _letters(axes: Axes, kind: str, base: Any, columns: int) -> None:
    """Labels of the cells in which no action matters."""
    if kind == "FrozenLakeEnv":
        marks = {state: letter.decode() for state, letter in enumerate(base.desc.flatten()) if letter in b"HG"}
    elif kind == "CliffWalkingEnv":
        marks = {**{int(state): "C" for state in np.flatnonzero(base._cliff.flatten())}, base.nS - 1: "G"}
    else:
        marks = {}
    for state, letter in marks.items():
        row, column = divmod(state, columns)
        colour = "#2e9e4f" if letter == "G" else "#30343b"
        axes.add_patch(_square(row, column, colour))
        axes.text(column, row, letter, ha="center", va="center", color="white", fontsize=11, fontweight="bold")


def _square(row: int, column: int, colour: str) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white")


def _taxi(table: np.ndarray, values: np.ndarray, base: Any) -> Figure:
    """A 5x5 grid for each place of the passenger (rows) and each destination (columns)."""
    figure = Figure(figsize=(11, 14), layout="constrained")
    grids = figure.subplots(5, 4)
    live = np.array([state for state in range(500) if _waiting(base, state)])
    limits = _limits(values[live])
    for passenger in range(5):
        for destination in range(4):
            axes = grids[passenger, destination]
            states = [base.encode(row, column, passenger, destination) for row, column in np.ndindex(5, 5)]
            shown = values[states].reshape(5, 5)
            arrived = passenger == destination
            image = _grid(axes, np.where(arrived, np.nan, shown), limits=limits)
            axes.set_title(f"passenger {TAXI_PLACES[passenger]}\nto {TAXI_PLACES[destination]}", fontsize=8)
            for index, state in enumerate([] if arrived else states):
                _taxi_cell(axes, table, state, divmod(index, 5), ink=_ink(values[state], limits))
            _walls(axes)
            if arrived:
                axes.text(2, 2, "arrived", ha="center", va="center", color="black", fontsize=9)
    figure.colorbar(image, ax=grids, label="value", shrink=0.4)
    return figure


def _waiting(base: Any, state: int) -> bool:
    _, _, passenger, destination = base.decode(state)
    return bool(passenger != destination)


def _taxi_cell(axes: Axes, table: np.ndarray, state: int, place: tuple[int, int], *, ink: str) -> None:
    _arrows(axes, place, _best(table, state, ARROWS["TaxiEnv"]), ink=ink, below=0.0, head=7.0)
    if table.ndim == 2 and (best := int(table[state].argmax())) >= 4:
        word = "in" if best == 4 else "out"
        axes.text(place[1], place[0], word, ha="center", va="center", color=ink, fontsize=8, fontweight="bold")


def _walls(axes: Axes) -> None:
    """Taxi's walls, and its four places by their colours."""
    for column, first, last in ((1, 0, 1), (0, 3, 4), (2, 3, 4)):
        axes.plot([column + 0.5] * 2, [first - 0.5, last + 0.5], color="black", linewidth=3)
    for (row, column), colour in zip(TAXI_CELLS, TAXI_PLACES, strict=False):
        axes.plot(column - 0.33, row - 0.33, "s", color=colour, markersize=5, markeredgecolor="white")


def _strip(table: np.ndarray, values: np.ndarray) -> Figure:
    """Values (and Q) of the states one after the other, in rows of at most 64."""
    figure = Figure(figsize=(11, 3.6 if len(values) <= 64 else 5.5), layout="constrained")
    axes = figure.add_subplot()
    if len(values) <= 64 and table.ndim == 2:
        picture, ylabel = table.T, "action"
    else:
        width = min(len(values), 64)
        picture = np.full(-(-len(values) // width) * width, np.nan)
        picture[: len(values)] = values
        picture, ylabel = picture.reshape(-1, width), f"state // {width}"
    finite = np.where(np.isfinite(picture), picture, np.nan)
    image = axes.imshow(finite, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_xlabel("state" if ylabel == "action" or len(picture) == 1 else "state modulo 64")
    axes.set_ylabel(ylabel)
    axes.locator_params(integer=True)
    figure.colorbar(image, ax=axes, label="Q" if ylabel == "action" else "value")
    return figure
