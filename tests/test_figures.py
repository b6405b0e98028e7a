"""Pictures of a comparison: what is drawn are its numbers, whoever looks can read them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gymnast.reports import comparison, figures, gather
from gymnast.reports.comparison import Comparison
from tests.runs import write_run


def found(folder: Path, agents: int = 2, envs: int = 2, seeds: int = 2) -> Comparison:
    runs = [
        write_run(
            folder / f"{agent}-{env}-{seed}",
            agent=f"agent{agent}",
            env=f"game{env}",
            seed=seed,
            score=agent + seed,
            evaluations=[(50, 0.0), (100, agent + seed)],
        )
        for agent in range(agents)
        for env in range(envs)
        for seed in range(seeds)
    ]
    return comparison.compare(gather.labelled(runs), title="test", resamples=100)


def test_curves_are_means_with_their_bands(tmp_path: Path) -> None:
    figure = figures.curves(found(tmp_path))
    assert [axes.get_title() for axes in figure.axes] == ["game0", "game1"]
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["agent0", "agent1"]
    np.testing.assert_allclose(lines[1].get_xydata(), [[50, 0], [100, 1.5]])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["agent0", "agent1"]


def test_an_agent_that_has_not_played_the_first_game_is_in_the_legend(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", env="game0"), write_run(tmp_path / "b", env="game1", agent="rainbow")]
    figure = figures.curves(comparison.compare(gather.labelled(runs), title="test", resamples=100))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dqn", "rainbow"]


def test_points_and_their_intervals(tmp_path: Path) -> None:
    compared = found(tmp_path)
    figure = figures.aggregates(compared)
    median = figure.axes[0]
    assert median.get_title() == "median (higher is better)"
    assert figure.axes[3].get_title() == "optimality gap (lower is better)"
    interval, point = median.lines[:2]
    value = compared.statistics["agent0"]["median"]
    assert list(interval.get_xdata()) == [value.low, value.high]
    assert list(point.get_xdata()) == [value.value]
    assert [text.get_text() for text in median.get_yticklabels()] == ["agent0", "agent1"]


def test_profiles_fall_from_one_to_zero(tmp_path: Path) -> None:
    compared = found(tmp_path)
    for line in figures.profiles(compared).axes[0].lines:
        heights = line.get_ydata()
        assert (np.diff(heights) <= 0).all()
        assert heights[-1] == 0


def test_improvement_of_each_pair(tmp_path: Path) -> None:
    axes = figures.improvements(found(tmp_path)).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["agent0 over agent1"]
    assert axes.get_xlim() == (-0.03, 1.03)


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", evaluations=[(100, 1.0)], training=[])
    alone = comparison.compare(gather.labelled([run]), title="test", resamples=100)
    drawn = figures.draw_all(alone, tmp_path, more={})
    assert [path.name for path in drawn] == ["aggregates.png", "profiles.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


@pytest.mark.parametrize("agents", [1, 3, 14])
def test_the_legend_is_within_the_picture(agents: int, tmp_path: Path) -> None:
    figure = figures.curves(found(tmp_path, agents=agents, envs=1, seeds=1))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert figure.axes[0].get_window_extent().height > 150  # what is left for the curves


@pytest.mark.parametrize("draw", [figures.curves, figures.efficiency, figures.profiles])
def test_the_legend_covers_no_point(draw: Callable[..., Any], tmp_path: Path) -> None:
    for agents in (2, 90):  # such as the values of a setting
        figure = draw(found(tmp_path / str(agents), agents=agents, envs=1, seeds=1))
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not figure.axes[0].get_window_extent().overlaps(box)
        assert figure.bbox.y0 <= box.y0
        assert figure.axes[0].get_window_extent().height > 150
        shown = [text.get_text() for text in legend.get_texts()]
        assert (len(shown), shown[0], shown[-1]) == (min(agents, 40), "agent0", f"agent{agents - 1}")


def test_colours_differ() -> None:
    for count in (2, 10, 14, 20, 90):
        names = [str(index) for index in range(count)]
        assert len(set(figures.colours(names).values())) == count


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (500, "500"), (1500, "1.5k"), (-0.1 - 0.2, "-0.3"), (-1e-17, "0"), (250_000, "250k"), (5e7, "50M")],
)
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert figures._short(value) == text
