"""Statistics over runs: hand-computed numbers, naive loops, and intervals that cover."""

import numpy as np
import pytest

from gymnast.reports import statistics
from gymnast.reports.statistics import Pooled, iqm, mean, median, optimality_gap

STATISTICS = list(statistics.STATISTICS.values())


def games(*scores: list[float]) -> list[np.ndarray]:
    return [np.array(game, dtype=float) for game in scores]


def value(statistic: statistics.Statistic, scores: list[np.ndarray]) -> float:
    pooled = Pooled.of(scores)
    return float(statistic(pooled.scores, pooled))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_iqm_of_a_number_of_runs_that_four_divides() -> None:
    assert value(iqm, games([8, 1, 3, 2], [100, 4, 6, 5])) == pytest.approx((3 + 4 + 5 + 6) / 4)


def test_iqm_cuts_fractions_of_runs() -> None:
    # Six runs: a quarter is one and a half, so the second and the fifth count half.
    assert value(iqm, games([0, 1, 2, 3, 4, 10])) == pytest.approx((0.5 * 1 + 2 + 3 + 0.5 * 4) / 3)
    # Five: a quarter is one and a quarter.
    assert value(iqm, games([7, 0, 1, 2, -90])) == pytest.approx((0.75 * 0 + 1 + 0.75 * 2) / 2.5)
    assert value(iqm, games([3])) == 3
    assert value(iqm, games([1, 4])) == 2.5


def test_games_count_the_same_whatever_their_seeds() -> None:
    # Shares: 1/2 for the one run of the first game, 1/6 for each of the second. The middle half reaches from 1/4 to
    # 3/4 of the order 0 (1/6), 1 (1/2), 2 (1/6), 3 (1/6): 5/12 of 1 and 1/12 of 2.
    assert value(iqm, games([1], [0, 2, 3])) == pytest.approx((5 / 12 * 1 + 1 / 12 * 2) / 0.5)
    assert value(mean, games([1], [0, 2, 3])) == pytest.approx((1 + 5 / 3) / 2)
    assert value(optimality_gap, games([0.4], [0.0, 2.0])) == pytest.approx(1 - (0.4 + 0.5) / 2)


def test_iqm_is_scipys_trimmed_mean() -> None:
    stats = pytest.importorskip("scipy.stats")
    scores = list(rng().normal(size=(7, 8)))
    assert value(iqm, scores) == pytest.approx(stats.trim_mean(np.concatenate(scores), 0.25), abs=1e-12)


def test_median_is_of_the_games_means() -> None:
    assert value(median, games([0, 2], [10, 10], [100, 0])) == 10
    assert value(median, games([0, 2], [10, 10])) == 5.5


def test_optimality_gap_gives_nothing_for_more_than_one() -> None:
    assert value(optimality_gap, games([0.5, 2.0])) == 0.25
    assert value(optimality_gap, games([1.0, 3.0])) == 0
    assert value(optimality_gap, games([-1.0])) == 2


def test_resampling_keeps_games_and_seeds() -> None:
    pooled = Pooled.of(games([0, 0], [1, 1, 1], [2]))
    rows = pooled.resampled(rng(), 500)
    assert rows.shape == (500, 6)
    assert (pooled.scores[rows] == pooled.scores).all()  # each column stays in its game
    for column in range(6):
        game = np.flatnonzero(pooled.game == pooled.game[column])
        assert set(rows[:, column]) == set(game)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_interval_is_that_of_a_loop(statistic: statistics.Statistic, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [rng(game).normal(size=seeds) for game, seeds in enumerate((3, 5, 1))]
    found = statistics.interval(scores, statistic, rng(7), resamples=300)
    drawn = []
    for row in Pooled.of(scores).resampled(rng(7), 300):
        resampled = np.concatenate(scores)[row]
        drawn.append(value(statistic, [resampled[:3], resampled[3:8], resampled[8:]]))
    assert found.value == value(statistic, scores)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    monkeypatch.setattr(statistics, "CHUNK", 100)  # the bootstrap in pieces
    assert statistics.interval(scores, statistic, rng(7), resamples=300) == pytest.approx(found)


def test_a_single_seed_gives_no_interval() -> None:
    found = statistics.interval(games([1], [3]), mean, rng())
    assert found.value == 2
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(statistics.improvement(games([1]), games([0]), rng()).low)
    assert np.isnan(statistics.profile(games([1]), np.array([0.0]), rng()).low).all()
    assert np.isnan(statistics.curve([np.array([[1.0, 2.0]])], iqm, rng()).low).all()


def test_intervals_cover_the_truth() -> None:
    generator, covered, rounds = rng(3), 0, 150
    for _ in range(rounds):
        scores = list(generator.normal(loc=[[0.0], [1.0], [5.0]], size=(3, 20)))
        found = statistics.interval(scores, mean, generator, resamples=300)
        covered += found.low <= 2.0 <= found.high
    assert 0.90 <= covered / rounds <= 0.98


def test_the_profile_is_the_share_of_runs_above() -> None:
    scores = games([0.0, 1.0], [2.0])
    band = statistics.profile(scores, np.array([-1.0, 0.0, 0.5, 1.0, 2.0]), rng(), resamples=400)
    np.testing.assert_allclose(band.value, [1, 0.75, 0.75, 0.5, 0])
    np.testing.assert_allclose(band.low, [1, 0.5, 0.5, 0.5, 0])  # both seeds of the first game may be its worse one
    np.testing.assert_allclose(band.high, [1, 1, 1, 0.5, 0])


def test_counting_is_that_of_a_loop() -> None:
    rows = rng().integers(0, 5, size=(20, 5))
    assert (statistics.counted(rows) == [[list(row).count(index) for index in range(5)] for row in rows]).all()


def test_the_probability_of_improvement() -> None:
    # (1, 1) is half a win, (1, 3) and (2, 3) are none, (2, 1) is one; in the other game all are.
    assert statistics.improvement(games([1, 2]), games([1, 3]), rng()).value == pytest.approx(1.5 / 4)
    both = statistics.improvement(games([1, 2], [5]), games([1, 3], [4, 4, 4]), rng())
    assert both.value == pytest.approx((1.5 / 4 + 1) / 2)
    back = statistics.improvement(games([1, 3], [4, 4, 4]), games([1, 2], [5]), rng())
    assert both.value + back.value == pytest.approx(1)
    with pytest.raises(ValueError, match="same games, got 1 and 2"):
        statistics.improvement(games([1]), games([1], [2]), rng())


def test_the_interval_of_improvement_is_that_of_a_loop() -> None:
    first, second = list(rng(1).normal(size=(2, 4))), list(rng(2).normal(size=(2, 3)))
    found = statistics.improvement(first, second, generator := rng(5), resamples=200)
    generator = rng(5)
    ours, theirs = Pooled.of(first).resampled(generator, 200), Pooled.of(second).resampled(generator, 200)
    drawn = []
    for left, right in zip(np.concatenate(first)[ours], np.concatenate(second)[theirs], strict=True):
        wins = [(x > y) + 0.5 * (x == y) for x in left[:4] for y in right[:3]]
        wins += [(x > y) + 0.5 * (x == y) for x in left[4:] for y in right[3:]]
        drawn.append(np.mean(wins))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_a_curve_is_the_statistic_at_each_moment() -> None:
    scores = [rng(1).normal(size=(3, 6)), rng(2).normal(size=(2, 6))]
    band = statistics.curve(scores, iqm, rng(4), resamples=150)
    rows = Pooled.of([game[:, 0] for game in scores]).resampled(rng(4), 150)
    for moment in range(6):
        now = [game[:, moment] for game in scores]
        assert band.value[moment] == pytest.approx(value(iqm, now))
        drawn = [value(iqm, [row[:3], row[3:]]) for row in np.concatenate(now)[rows]]
        assert (band.low[moment], band.high[moment]) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_no_game_and_no_score_are_refused() -> None:
    for scores in ([], games([1], [])):
        with pytest.raises(ValueError, match="at least one game is needed"):
            Pooled.of(scores)
