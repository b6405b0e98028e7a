"""The learning curve: what is drawn are the records, and it is a PNG without a display."""

import json
from pathlib import Path

import pytest

from gymnast.reports import learning_curve


def run(folder: Path, rows: list[dict]) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def train(step: int, value: float) -> dict:
    return {"kind": "train", "env_step": step, "return_mean": value, "loss": 0.5}


def evaluation(step: int, value: float) -> dict:
    return {"kind": "eval", "env_step": step, "mean_return": value, "std_return": 2.0}


ROWS = [
    {"kind": "train", "env_step": 5, "loss": 0.5},  # no episode has ended yet
    train(10, 1.0),
    train(20, 3.0),
    evaluation(20, 7.0),
    {"kind": "train", "env_step": 25, "return_mean": None},  # NaN in JSON
    train(30, 5.0),
    {"kind": "final", "env_step": 30, "mean_return": 9.0},
]


def test_lines_and_points_are_the_records() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    learning_curve.draw(axes, ROWS, color="C0", label="")
    line, points = axes.lines[0], axes.containers[0].lines[0]
    assert line.get_xydata().tolist() == [[10, 1], [20, 3], [30, 5]]
    assert points.get_xydata().tolist() == [[20, 7]]


def test_a_run_leaves_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    learning_curve.learning_curve([run(tmp_path / "env" / "agent" / "a", ROWS)], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_runs_without_a_point_and_several_runs_are_drawn_too(tmp_path: Path) -> None:
    several = [run(tmp_path / "env" / "agent" / name, ROWS) for name in "ab"]
    empty = run(tmp_path / "env" / "agent" / "c", [])
    learning_curve.learning_curve([*several, empty], tmp_path / "curve.png")
    learning_curve.learning_curve([empty], tmp_path / "none.png")
    assert (tmp_path / "curve.png").stat().st_size > (tmp_path / "none.png").stat().st_size > 0


def test_the_legend_covers_no_point(tmp_path: Path) -> None:
    runs = [run(tmp_path / "env" / "agent" / name, ROWS) for name in "abc"]
    figure = learning_curve.figure(runs)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not figure.axes[0].get_window_extent().overlaps(legend.get_window_extent())
