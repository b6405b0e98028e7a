"""`gymnast report`: compares finished runs of several agents, games and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from gymnast.atari import scores
from gymnast.reports import gather
from gymnast.reports import statistics as aggregate
from gymnast.reports.gather import Run
from gymnast.reports.statistics import Array, Band, Interval

POINTS = 50
"""Points of a learning curve."""
PAIRS = 5
"""Up to this many agents, every pair is compared; with more, each is compared with the last one."""


@dataclass(frozen=True)
class Scale:
    """The range of a normalized score: 0 at `low`, 1 at `high`."""

    low: float
    high: float

    def __call__(self, score: Any) -> Any:
        if self.high == self.low:  # all scores are equal
            return np.ones_like(score, dtype=np.float64)
        return (score - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Table:
    """Runs by agent and game, in their given order."""

    runs: tuple[Run, ...]
    agents: tuple[str, ...]
    games: tuple[str, ...]
    human: bool
    """Whether scores are human-normalized; else each game's lowest and highest mean return are 0 and 1."""
    evaluated: bool
    """Whether curves show evaluations; otherwise training episodes."""
    scales: Mapping[str, Scale]

    @staticmethod
    def of(runs: Sequence[Run]) -> Table:
        games = tuple(dict.fromkeys(item.env for item in runs))
        human = all(item.protocol is not None and scores.game_of(item.env) is not None for item in runs)
        evaluated = all(len(item.evaluations) > 1 for item in runs)
        scales = {game: _scale(game, runs, human=human, evaluated=evaluated) for game in games}
        agents = tuple(dict.fromkeys(item.label for item in runs))
        return Table(tuple(runs), agents, games, human, evaluated, scales)

    def of_cell(self, agent: str, game: str) -> list[Run]:
        """The runs of an agent in a game, by seed."""
        found = [item for item in self.runs if (item.label, item.env) == (agent, game)]
        return sorted(found, key=lambda item: item.seed)

    @property
    def shared(self) -> tuple[str, ...]:
        """Games that every agent has played: statistics over games use only these."""
        return tuple(game for game in self.games if all(self.of_cell(agent, game) for agent in self.agents))

    def finals(self, agent: str) -> list[Array]:
        """Normalized final scores, one array per shared game."""
        return [self.scales[game](np.array([item.score for item in self.of_cell(agent, game)])) for game in self.shared]

    def curve(self, item: Run) -> Array:
        """[n, 2]: env step and mean return of the run's curve."""
        return item.evaluations if self.evaluated else item.training

    def moments(self, games: Sequence[str]) -> Array:
        """Env steps at which every run of the games has a mean return, at most `POINTS`."""
        curves = [self.curve(item)[:, 0] for item in self.runs if item.env in games]
        if not curves or not all(map(len, curves)):
            return np.empty(0)
        every = np.unique(np.concatenate(curves))
        first, last = max(steps[0] for steps in curves), min(steps[-1] for steps in curves)
        every = every[(every >= first) & (every <= last)]
        kept = np.linspace(0, len(every) - 1, min(POINTS, len(every))).round().astype(int)
        found: Array = every[kept]
        return found

    def values(self, agent: str, game: str, moments: Array) -> Array:
        """[seeds, T]: the latest mean return of each run at each moment."""
        curves = [self.curve(item) for item in self.of_cell(agent, game)]
        return np.array([curve[np.searchsorted(curve[:, 0], moments, side="right") - 1, 1] for curve in curves])


@dataclass(frozen=True)
class Comparison:
    """All numbers of a report."""

    title: str
    table: Table
    unfinished: tuple[str, ...]
    statistics: Mapping[str, Mapping[str, Interval]]
    """By agent and by the statistic's name; empty if the agents share no game."""
    cells: Mapping[tuple[str, str], Interval]
    """Mean final score by agent and game, not normalized."""
    improvements: Mapping[tuple[str, str], Interval]
    """Probability that the first agent improves on the second."""
    thresholds: Array
    profiles: Mapping[str, Band]
    moments: Array
    efficiency: Mapping[str, Band]
    """IQM at each of the moments."""
    curves: Mapping[str, tuple[Array, Mapping[str, Band]]]
    """By game: moments, and by agent the mean return over seeds."""


def compare(
    labels: Mapping[Path, str],
    *,
    title: str,
    missing: Sequence[str] = (),
    resamples: int = aggregate.RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """All statistics of the runs. Raises UsageError for different protocols, or if no run is finished."""
    gathered = gather.gather(labels, missing=missing)
    table = Table.of(gathered.runs)
    rng = np.random.default_rng(seed)
    finals = {agent: table.finals(agent) for agent in table.agents} if table.shared else {}
    pooled = np.concatenate([game for games in finals.values() for game in games]) if finals else np.zeros(1)
    thresholds = np.linspace(min(0.0, pooled.min()), max(1.0, pooled.max()), 101)
    moments = table.moments(table.shared)
    return Comparison(
        title=title,
        table=table,
        unfinished=gathered.unfinished,
        statistics={
            agent: {
                name: aggregate.interval(games, statistic, rng, resamples=resamples)
                for name, statistic in aggregate.STATISTICS.items()
            }
            for agent, games in finals.items()
        },
        cells=_cells(table, rng, resamples),
        improvements={
            pair: aggregate.improvement(finals[pair[0]], finals[pair[1]], rng, resamples=resamples)
            for pair in _pairs(tuple(finals))
        },
        thresholds=thresholds,
        profiles={
            agent: aggregate.profile(games, thresholds, rng, resamples=resamples) for agent, games in finals.items()
        },
        moments=moments,
        efficiency=_efficiency(table, moments, rng, resamples) if len(moments) else {},
        curves={game: _curves(table, game, rng, resamples) for game in table.games},
    )


def _scale(game: str, runs: Sequence[Run], *, human: bool, evaluated: bool) -> Scale:
    if human:
        found = scores.reference(game)
        return Scale(found.random, found.human)
    own = [item for item in runs if item.env == game]
    seen = [value for item in own for value in (item.evaluations if evaluated else item.training)[:, 1]]
    seen += [item.score for item in own]
    return Scale(float(min(seen)), float(max(seen)))


def _pairs(agents: Sequence[str]) -> list[tuple[str, str]]:
    if len(agents) <= PAIRS:
        return list(combinations(agents, 2))
    return [(agents[-1], agent) for agent in agents[:-1]]


def _cells(table: Table, rng: np.random.Generator, resamples: int) -> dict[tuple[str, str], Interval]:
    found = {}
    for agent in table.agents:
        for game in table.games:
            own = np.array([item.score for item in table.of_cell(agent, game)])
            if len(own):
                found[agent, game] = aggregate.interval([own], aggregate.mean, rng, resamples=resamples)
    return found


def _efficiency(table: Table, moments: Array, rng: np.random.Generator, resamples: int) -> dict[str, Band]:
    return {
        agent: aggregate.curve(
            [table.scales[game](table.values(agent, game, moments)) for game in table.shared],
            aggregate.iqm,
            rng,
            resamples=resamples,
        )
        for agent in table.agents
    }


def _curves(table: Table, game: str, rng: np.random.Generator, resamples: int) -> tuple[Array, dict[str, Band]]:
    moments = table.moments([game])
    agents = [agent for agent in table.agents if len(moments) and table.of_cell(agent, game)]
    return moments, {
        agent: aggregate.curve([table.values(agent, game, moments)], aggregate.mean, rng, resamples=resamples)
        for agent in agents
    }
