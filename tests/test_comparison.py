"""Reports: the numbers are those of the runs, protocols do not mix, the same runs give the same bytes."""

import csv
from pathlib import Path

import numpy as np
import pytest

from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.reports import comparison, gather, tables
from gymnast.reports.comparison import Table
from tests.runs import RAINBOW_PROTOCOL, write_run

ORDER = ("curves.png", "aggregates.png", "profiles.png", "efficiency.png", "improvement.png")
PONG = {"env": "ALE/Pong-v5", "protocol": RAINBOW_PROTOCOL}
BREAKOUT = {"env": "ALE/Breakout-v5", "protocol": RAINBOW_PROTOCOL}


def compare(*runs: Path, resamples: int = 200) -> comparison.Comparison:
    return comparison.compare(gather.labelled(runs), title="test", resamples=resamples)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def test_scores_are_human_normalized_where_all_games_are_atari(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", score=14.6, **PONG)
    second = write_run(tmp_path / "b", score=-20.7, seed=1, **PONG)
    third = write_run(tmp_path / "c", score=30.5, **BREAKOUT)
    found = compare(first, second, third)
    assert found.table.human
    # Pong: random -20.7, human 14.6; Breakout: 1.7 and 30.5.
    pong, breakout = found.table.finals("dqn")
    np.testing.assert_allclose(pong, [1, 0], atol=1e-12)
    np.testing.assert_allclose(breakout, [1])
    assert found.statistics["dqn"]["mean"].value == pytest.approx(0.75)
    assert found.statistics["dqn"]["optimality gap"].value == pytest.approx(0.25)
    assert found.cells["dqn", "ALE/Pong-v5"].value == pytest.approx((14.6 - 20.7) / 2)


def test_other_games_are_scaled_by_the_lowest_and_highest_return(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", score=100, evaluations=[(50, 20), (100, 100)]),
        write_run(tmp_path / "b", score=60, agent="rainbow", evaluations=[(50, 40), (100, 60)]),
    ]
    found = compare(*runs)
    assert not found.table.human
    assert [found.statistics[agent]["mean"].value for agent in ("dqn", "rainbow")] == [1, 0.5]
    scale = found.table.scales["gymnast/Chain-v0"]
    assert (scale.low, scale.high) == (20, 100)


def test_equal_scores_are_all_the_highest(tmp_path: Path) -> None:
    found = compare(write_run(tmp_path / "a", score=3, evaluations=[(50, 3), (100, 3)]))
    assert found.statistics["dqn"]["IQM"].value == 1


def test_curves_hold_the_last_value_between_records(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", evaluations=[(10, 1), (40, 2), (100, 3)]),
        write_run(tmp_path / "b", seed=1, evaluations=[(20, 5), (60, 6), (90, 7)]),
    ]
    table = Table.of(gather.gather(gather.labelled(runs)).runs)
    moments = table.moments(table.games)
    assert moments.tolist() == [20, 40, 60, 90]  # where both have a value
    assert table.values("dqn", "gymnast/Chain-v0", moments).tolist() == [[1, 2, 2, 2], [5, 5, 6, 7]]


def test_curves_are_of_training_where_a_run_was_evaluated_once(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", evaluations=[(100, 9)], training=[(10, None), (50, 1), (100, 2)]),
        write_run(tmp_path / "b", seed=1, training=[(50, 3), (100, 4)]),
    ]
    found = compare(*runs)
    assert not found.table.evaluated
    moments, bands = found.curves["gymnast/Chain-v0"]
    assert (moments.tolist(), bands["dqn"].value.tolist()) == ([50, 100], [2, 3])


def test_at_most_fifty_moments_with_both_ends(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", steps=1000, evaluations=[(step, 0) for step in range(1, 1001)])
    found = compare(run)
    assert (len(found.moments), found.moments[0], found.moments[-1]) == (50, 1, 1000)


def test_protocols_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs" / "a", **PONG)
    write_run(
        tmp_path / "runs" / "b",
        env="ALE/Pong-v5",
        seed=1,
        protocol={**RAINBOW_PROTOCOL, "name": "dopamine", "sticky": 0.25},
    )
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 2
    assert capsys.readouterr().err == (
        "gymnast: runs of different protocols cannot share a report: ALE/Pong-v5 dqn seed 0 is rainbow, "
        "ALE/Pong-v5 dqn seed 1 is dopamine; report them separately\n"
    )
    assert not (tmp_path / "report").exists()


def test_custom_protocols_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    custom = {**RAINBOW_PROTOCOL, "name": None}
    first = write_run(tmp_path / "a", env="ALE/Pong-v5", protocol=custom)
    same = write_run(tmp_path / "b", env="ALE/Pong-v5", seed=1, protocol={**custom, "life_loss": None})
    compare(first, same)  # an agent that has no such setting cannot differ in it
    other = write_run(tmp_path / "c", env="ALE/Pong-v5", seed=2, protocol={**custom, "noop_max": 0})
    with pytest.raises(UsageError, match=r"seed 0 is custom \(noop_max 30\), .* seed 2 is custom \(noop_max 0\)"):
        compare(first, other)


def test_unfinished_runs_are_left_out_and_named(tmp_path: Path) -> None:
    done, torn = write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1, score=None)
    found = compare(done, torn)
    assert (len(found.table.runs), found.unfinished) == (1, ("gymnast/Chain-v0 dqn seed 1",))
    with pytest.raises(UsageError, match=r"^no run is finished: gymnast/Chain-v0 dqn seed 1$"):
        compare(torn)


def test_two_runs_of_one_seed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"two runs are gymnast/Chain-v0 dqn seed 0: .*a and .*b; leave one out"):
        compare(write_run(tmp_path / "a"), write_run(tmp_path / "b"))


def test_variants_of_an_agent_are_labelled_by_what_differs(tmp_path: Path) -> None:
    plain = {"double": False, "n_step": 1, "hidden_sizes": [120, 84]}
    paths = [
        write_run(tmp_path / "a", config=plain),
        write_run(tmp_path / "b", config=plain, seed=1),
        write_run(tmp_path / "c", config={**plain, "double": True, "hidden_sizes": [64]}),
        write_run(tmp_path / "d", config={**plain, "n_step": 3}, env="CartPole-v1"),  # its game's only one: usual there
    ]
    assert list(gather.labelled(paths).values()) == ["dqn", "dqn", "dqn, double True, hidden_sizes 64", "dqn"]


def test_statistics_are_of_the_games_that_all_agents_played(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", env="CartPole-v1"),
        write_run(tmp_path / "c", agent="rainbow"),
    ]
    assert compare(*runs).table.shared == ("gymnast/Chain-v0",)
    assert compare(runs[1], runs[2]).statistics == {}


def test_more_agents_are_each_compared_with_the_last(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, agent=name, score=index) for index, name in enumerate("abcdefg")]
    assert list(compare(*runs[:3]).improvements) == [("a", "b"), ("a", "c"), ("b", "c")]
    found = compare(*runs).improvements
    assert list(found) == [("g", other) for other in "abcdef"]
    assert all(item.value == 1 for item in found.values())


def test_folders_are_searched_and_hidden_ones_are_not(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "env" / "dqn" / "a")
    write_run(tmp_path / "runs" / "env" / "dqn" / ".b.replaced")
    assert gather.find([str(tmp_path / "runs"), str(run)]) == [run]


@pytest.mark.parametrize("name", ["no folder", "contains no run"])
def test_a_path_without_runs(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if name == "contains no run":
        path.mkdir()
    with pytest.raises(UsageError, match=name):
        gather.find([str(path)])


def test_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        for agent in ("dqn", "rainbow"):
            for env in (PONG, BREAKOUT):
                write_run(
                    tmp_path / "runs" / f"{agent}{seed}{env['env'][4:9]}",
                    agent=agent,
                    seed=seed,
                    score=seed + 2.25,
                    **env,
                )
    out = tmp_path / "report"
    assert main(["report", str(tmp_path / "runs"), "--out", str(out), "--resamples", "100"]) == 0
    printed = capsys.readouterr().out
    assert "| dqn | " in printed
    assert str(out / "report.md") in printed
    written = {"report.md", "scores.csv", "aggregates.csv", "improvement.csv", "efficiency.csv"}
    assert {path.name for path in out.iterdir()} == written | set(ORDER)
    again = comparison.compare(gather.labelled(gather.find([str(tmp_path / "runs")])), title="Report", resamples=100)
    (tmp_path / "again").mkdir()
    for path in tables.write(again, tmp_path / "again", pictures=[out / name for name in ORDER]):
        assert path.read_bytes() == (out / path.name).read_bytes()
    scores = rows(out / "scores.csv")
    assert len(scores) == 8
    assert scores[0] == {
        "env": "ALE/Breakout-v5", "agent": "dqn", "seed": "0", "env_steps": "100", "score": "2.25",
        "normalized": f"{(2.25 - 1.7) / 28.8:.9g}",
    }  # fmt: skip
    text = (out / "report.md").read_text()
    assert "| ALE/Breakout-v5 | 2.750 [2.250, 3.250] (2) | 2.750 [2.250, 3.250] (2) | 1.700 | 30.5 |" in text
    assert "Atari protocol rainbow: sticky 0.0, noop_max 30" in text
    aggregates = rows(out / "aggregates.csv")
    assert [row["statistic"] for row in aggregates[:4]] == ["median", "mean", "IQM", "optimality gap"]
