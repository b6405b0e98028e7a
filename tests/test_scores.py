"""Reference and published scores: the table, its names, and what follows from it."""

from __future__ import annotations

import json
import re
import statistics

import pytest

from gymnast.atari import scores
from gymnast.atari.protocols import PROTOCOLS
from gymnast.cli.main import main
from gymnast.envs.atari.games import atari_games

MEDIANS = {
    "dqn": 79,
    "double_dqn": 118,
    "dueling_dqn": 151,
    "prioritized_dueling_double_dqn": 172,
    "noisy_dqn": 123,
    "c51": 178,
    "rainbow": 227,
    "a3c": 80,
    "ppo_40m_frames": 69,
}
"""Medians of the human-normalized score in percent; Hessel et al. 2018 and Fortunato et al. 2018 print some of them."""


def test_the_table_has_the_57_games_and_says_where_each_column_is_from() -> None:
    table = scores.table()
    assert len(table) == 57
    assert set(table) <= set(atari_games().values())
    counts = {name: sum(name in row for row in table.values()) for name in scores.COLUMNS}
    assert counts == {**dict.fromkeys(scores.COLUMNS, 57), "rainbow": 54, "ppo_40m_frames": 49}
    for column in scores.COLUMNS.values():
        assert re.match(r"\w+ et al\. 201[678]\b", column.paper)
        assert column.conditions
        assert column.protocol is None or column.protocol in PROTOCOLS


@pytest.mark.parametrize("column", MEDIANS)
def test_the_medians_are_the_published_ones(column: str) -> None:
    normalized = [
        100 * scores.human_normalized(game, row[column]) for game, row in scores.table().items() if column in row
    ]
    assert statistics.median(normalized) == pytest.approx(MEDIANS[column], abs=1)


def test_a_normalized_score_by_hand() -> None:
    """Pong: chance -20.7, human 14.6."""
    assert scores.human_normalized("pong", -20.7) == 0.0
    assert scores.human_normalized("pong", 14.6) == 1.0
    assert scores.human_normalized("Pong", 21.0) == pytest.approx(41.7 / 35.3)
    assert scores.human_gap("Pong", -3.05) == pytest.approx(0.5)
    assert scores.human_gap("Pong", 21.0) == 0.0
    assert scores.human_gap("Pong", -21.0) == pytest.approx(1 + 0.3 / 35.3)  # worse than chance: above 1
    found = scores.reference("ALE/Pong-v5")
    assert (found.random, found.human) == (-20.7, 14.6)
    assert "Wang et al. 2016" in found.source


@pytest.mark.parametrize(
    ("name", "game"),
    [
        ("pong", "pong"),
        ("Pong", "pong"),
        ("ALE/Pong-v5", "pong"),
        ("ale_py:ALE/Pong-v5", "pong"),
        ("PongNoFrameskip-v4", "pong"),
        ("PongDeterministic-v4", "pong"),
        ("MsPacman", "ms_pacman"),
        ("ms_pacman", "ms_pacman"),
        ("ALE/UpNDown-v5", "up_n_down"),
        ("MinAtar/Freeway-v1", None),
        ("gymnast/Catch-v0", None),
        ("CartPole-v1", None),
        ("ALE/Pacman-v5", None),
        ("", None),
    ],
)
def test_names_and_ids(name: str, game: str | None) -> None:
    assert scores.game_of(name) == game


def test_every_game_is_found_by_each_of_its_ids() -> None:
    for name, rom in atari_games().items():
        expected = rom if rom in scores.table() else None
        for id in (name, f"ALE/{name}-v5", f"{name}NoFrameskip-v4"):
            assert scores.game_of(id) == expected


def test_unknown_games_are_refused_by_name() -> None:
    message = "no published scores for 'pnog': it is not one of the Atari-57 games; did you mean pong?"
    for function in (scores.reference, scores.published, lambda game: scores.human_normalized(game, 0.0)):
        with pytest.raises(ValueError, match=message.replace("?", r"\?")):
            function("pnog")


def test_published_scores_bear_their_protocol() -> None:
    found = scores.published("Breakout")
    assert (found["dqn"].score, found["rainbow"].score) == (385.5, 417.5)
    assert found["rainbow"].column.paper == "Hessel et al. 2018"
    assert {item.column.protocol for item in found.values()} == {"rainbow", None}
    assert found["ppo_40m_frames"].column.protocol is None
    assert "random" not in found
    assert "rainbow" not in scores.published("UpNDown")  # one of the three that the paper leaves out


def test_list_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "scores"]) == 0
    text = capsys.readouterr().out
    assert text.split()[: len(scores.COLUMNS) + 1] == ["game", *scores.COLUMNS]
    (pong,) = (line.split() for line in text.splitlines() if line.split()[:1] == ["pong"])
    assert pong[1:3] == ["-20.7", "14.6"]
    for name, column in scores.COLUMNS.items():
        assert f"{name}: {column.paper}; {column.conditions}" in text
    assert main(["list", "scores", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["games"] == scores.table()
    assert set(found["columns"]) == set(scores.COLUMNS)
