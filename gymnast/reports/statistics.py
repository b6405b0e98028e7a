"""Statistics over runs of several games, with stratified bootstrap intervals (Agarwal et al. 2021).

Scores are one array per game, one normalized score per seed: `[[seeds of game 0], [seeds of game 1], ...]`. Games may
have different numbers of seeds: every game counts the same, each of its seeds an equal share of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = Sequence[Array]

RESAMPLES = 2_000
CONFIDENCE = 0.95
CHUNK = 4_000_000
"""Maximum number of values that a bootstrap holds at a time."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile interval; nan if every game has a single seed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pooled:
    """The scores of all games in one row."""

    scores: Array
    """[N], game after game."""
    game: NDArray[np.int64]
    """[N], the number of each score's game."""
    counts: NDArray[np.int64]
    """[G], seeds of each game."""

    @staticmethod
    def of(scores: Scores) -> Pooled:
        """Raises ValueError if there is no game, or a game without a score."""
        counts = np.array([len(game) for game in scores], dtype=np.int64)
        if not len(counts) or not counts.all():
            raise ValueError("at least one game is needed, with a score in each")
        pooled = np.concatenate([np.asarray(game, dtype=np.float64) for game in scores])
        return Pooled(pooled, np.repeat(np.arange(len(counts)), counts), counts)

    @property
    def weights(self) -> Array:
        """[N], each score's share; the shares of a game sum to 1/G."""
        share: Array = 1.0 / (self.counts[self.game] * len(self.counts))
        return share

    def resampled(self, rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
        """[R, N] indices: every game keeps its place and number of seeds, its seeds are drawn with replacement."""
        first = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        drawn = rng.integers(0, self.counts[self.game], size=(resamples, len(self.scores)))
        rows: NDArray[np.int64] = drawn + first[self.game]
        return rows


Statistic: TypeAlias = Callable[[Array, Pooled], Array]
"""A number for each row of scores [..., N], with columns in the order of the pooled scores."""


def mean(scores: Array, pooled: Pooled) -> Array:
    """Mean over the games of each game's mean over seeds."""
    result: Array = scores @ pooled.weights
    return result


def median(scores: Array, pooled: Pooled) -> Array:
    """Median over the games of each game's mean over seeds."""
    starts = np.concatenate([[0], np.cumsum(pooled.counts)[:-1]])
    means = np.add.reduceat(scores, starts, axis=-1) / pooled.counts
    result: Array = np.median(means, axis=-1)
    return result


def iqm(scores: Array, pooled: Pooled) -> Array:
    """Interquartile mean: mean of the middle half of all runs (Agarwal et al. 2021, section 4.3).

    The quarters are exact: if a quarter of the runs is not a whole number, the run at the edge counts in part.
    """
    order = np.argsort(scores, axis=-1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=-1)
    end = np.cumsum(pooled.weights[order], axis=-1)
    begin = np.concatenate([np.zeros_like(end[..., :1]), end[..., :-1]], axis=-1)
    share = np.clip(np.minimum(end, 0.75) - np.maximum(begin, 0.25), 0.0, None)
    result: Array = (ordered * share).sum(axis=-1) / share.sum(axis=-1)
    return result


def optimality_gap(scores: Array, pooled: Pooled) -> Array:
    """How far runs stay below 1 on average; scores above 1 count as 1 (Agarwal et al. 2021, section 4.3)."""
    result: Array = 1.0 - np.minimum(scores, 1.0) @ pooled.weights
    return result


STATISTICS: dict[str, Statistic] = {"median": median, "mean": mean, "IQM": iqm, "optimality gap": optimality_gap}


def interval(scores: Scores, statistic: Statistic, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Interval:
    """The statistic, and its 95% percentile interval under stratified bootstrap over the seeds of each game."""
    pooled = Pooled.of(scores)
    value = float(statistic(pooled.scores, pooled))
    if (pooled.counts == 1).all():
        return Interval(value, np.nan, np.nan)
    drawn = [
        statistic(pooled.scores[rows], pooled)
        for rows in np.array_split(pooled.resampled(rng, resamples), _chunks(resamples * len(pooled.scores)))
    ]
    low, high = percentiles(np.concatenate(drawn))
    return Interval(value, float(low), float(high))


def percentiles(drawn: Array) -> Array:
    """Both ends of the 95% interval of resampled values, along the first axis."""
    tail = (1 - CONFIDENCE) / 2
    result: Array = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return result


@dataclass(frozen=True)
class Band:
    """A curve with its pointwise interval; all [T], nan if every game has a single seed."""

    value: Array
    low: Array
    high: Array


def profile(scores: Scores, thresholds: Array, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Band:
    """Performance profile: the share of runs above each threshold (Agarwal et al. 2021, section 4.2)."""
    pooled = Pooled.of(scores)
    above = (pooled.scores[:, None] > thresholds).astype(np.float64)  # [N, T]
    value = pooled.weights @ above
    if (pooled.counts == 1).all():
        return Band(value, *np.full((2, len(thresholds)), np.nan))
    share = counted(pooled.resampled(rng, resamples)) * pooled.weights  # [R, N]; linear in how often each run is drawn
    return Band(value, *percentiles(share @ above))


def counted(rows: NDArray[np.int64]) -> Array:
    """[R, N]: how often each index occurs in each row of `rows` [R, N]."""
    resamples, width = rows.shape
    flat = (rows + np.arange(resamples)[:, None] * width).ravel()
    return np.bincount(flat, minlength=resamples * width).reshape(resamples, width).astype(np.float64)


def curve(
    scores: Sequence[Array], statistic: Statistic, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Band:
    """The statistic at each of T moments; `scores` are [seeds, T] for each game. Runs are resampled whole."""
    pooled = Pooled.of([game[:, 0] for game in scores])
    moments = np.concatenate(scores).T  # [T, N]
    value = statistic(moments, pooled)
    if (pooled.counts == 1).all():
        return Band(value, *np.full((2, len(value)), np.nan))
    rows = pooled.resampled(rng, resamples)
    ends = np.array([percentiles(statistic(moment[rows], pooled)) for moment in moments])  # [T, 2]
    return Band(value, ends[:, 0], ends[:, 1])


def improvement(first: Scores, second: Scores, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Interval:
    """Probability that a run of `first` beats one of `second` on a game drawn at random; a tie is half a win.

    Both have the same games (Agarwal et al. 2021, section 4.3: the mean of each game's Mann-Whitney U).
    """
    if len(first) != len(second):
        raise ValueError(f"both agents must have the same games, got {len(first)} and {len(second)}")
    ours, theirs = Pooled.of(first), Pooled.of(second)
    wins = _wins(ours.scores[:, None], theirs.scores) * (ours.game[:, None] == theirs.game)
    wins = wins * ours.weights[:, None] * theirs.weights * len(ours.counts)
    value = float(wins.sum())
    if (ours.counts == 1).all() and (theirs.counts == 1).all():
        return Interval(value, np.nan, np.nan)
    left = counted(ours.resampled(rng, resamples))
    right = counted(theirs.resampled(rng, resamples))
    low, high = percentiles(((left @ wins) * right).sum(axis=1))
    return Interval(value, float(low), float(high))


def _wins(first: Array, second: Array) -> Array:
    result: Array = (first > second) + 0.5 * (first == second)
    return result


def _chunks(numbers: int) -> int:
    return max(1, numbers // CHUNK)
