"""A comparison's numbers as Markdown and CSV. Nothing in them comes from a clock or a path: same runs, same bytes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from gymnast.atari import scores
from gymnast.reports.comparison import Comparison
from gymnast.reports.gather import protocol_name
from gymnast.reports.statistics import CONFIDENCE, STATISTICS, Interval


def write(found: Comparison, out: Path, *, pictures: Sequence[Path]) -> list[Path]:
    """Write report.md and the CSV files; their paths. Raises OSError."""
    report = out / "report.md"
    report.write_text(markdown(found, pictures=[path.name for path in pictures]), encoding="utf-8", newline="\n")
    files = {
        "scores.csv": (("env", "agent", "seed", "env_steps", "score", "normalized"), _score_rows(found)),
        "aggregates.csv": (("agent", "statistic", "value", "low", "high"), _aggregate_rows(found)),
        "improvement.csv": (
            ("agent", "improves_on", "probability", "low", "high"),
            ((*pair, *_numbers(value)) for pair, value in found.improvements.items()),
        ),
        "efficiency.csv": (("agent", "env_steps", "iqm", "low", "high"), _efficiency_rows(found)),
    }
    for name, (header, rows) in files.items():
        with open(out / name, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    return [report, *(out / name for name in files)]


def markdown(found: Comparison, *, pictures: Iterable[str] = ()) -> str:
    """The whole report as one page."""
    parts = [f"# {found.title}", _about(found), "## Scores", _games(found)]
    if found.statistics:
        parts += ["## Over all games" if len(found.table.shared) > 1 else "## Over all seeds", _over(found)]
        parts += [aggregates(found)]
    if found.improvements:
        parts += ["## Probability of improvement", IMPROVEMENT, _improvements(found)]
    parts += [f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


IMPROVEMENT = "That a run of the first agent scores above one of the second, in a game drawn at random; a tie is half."


def aggregates(found: Comparison) -> str:
    """The statistics over games, one row per agent."""
    rows = [[agent, *(_cell(values[name]) for name in STATISTICS)] for agent, values in found.statistics.items()]
    return _table(["agent", *STATISTICS], rows) if rows else "no game was played by every agent"


def _about(found: Comparison) -> str:
    table = found.table
    lines = [
        f"{_count(len(table.runs), 'run')} of {_count(len(table.agents), 'agent')} in "
        f"{_count(len(table.games), 'game')}."
    ]
    steps = sorted({item.env_step for item in table.runs})
    lines.append(f"Env steps per run: {f'{steps[0]:,}' if len(steps) == 1 else f'{steps[0]:,} to {steps[-1]:,}'}.")
    if len(steps) > 1 and steps[-1] - steps[0] > 0.01 * steps[-1]:
        lines.append("Runs of different lengths share a table here.")
    protocols = {protocol_name(item.protocol): item.protocol for item in table.runs if item.protocol is not None}
    for name, settings in protocols.items():
        told = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "name")
        lines.append(f"Atari protocol {name}: {told}.")
    lines += [f"Left out as unfinished: {', '.join(found.unfinished)}."] if found.unfinished else []
    return "  \n".join(lines)


def _games(found: Comparison) -> str:
    table = found.table
    about = (
        f"Final evaluation of the kept agent: mean over seeds, {CONFIDENCE:.0%} bootstrap interval of that mean, and "
        "the number of seeds."
    )
    cells = {pair: f"{_cell(value)} ({len(table.of_cell(*pair))})" for pair, value in found.cells.items()}
    low, high = ("random", "human") if table.human else ("0 is", "1 is")
    scale = {game: (_number(ends.low), _number(ends.high)) for game, ends in table.scales.items()}
    if len(table.agents) <= len(table.games):
        rows = [
            [game, *(cells.get((agent, game), "-") for agent in table.agents), *scale[game]] for game in table.games
        ]
        return f"{about}\n\n{_table(['game', *table.agents, low, high], rows)}"
    rows = [[agent, *(cells.get((agent, game), "-") for game in table.games)] for agent in table.agents]
    rows += [[name, *(scale[game][end] for game in table.games)] for end, name in enumerate((low, high))]
    return f"{about}\n\n{_table(['agent', *table.games], rows)}"


def _over(found: Comparison) -> str:
    table = found.table
    if table.human:
        about = f"Human-normalized scores: 0 is random play, 1 a human ({scores.SOURCE})."
    else:
        about = "Scores normalized in each game: 0 is the lowest and 1 the highest mean return of any of these runs."
    left = [game for game in table.games if game not in table.shared]
    about += f" Not every agent has played {', '.join(left)}, left out here." if left else ""
    return (
        f"{about} {CONFIDENCE:.0%} intervals by stratified bootstrap over the seeds of each game "
        "(Agarwal et al. 2021). IQM: mean of the middle half of all runs. Optimality gap: how far runs stay below 1."
    )


def _improvements(found: Comparison) -> str:
    rows = [[first, second, _cell(value)] for (first, second), value in found.improvements.items()]
    return _table(["agent", "improves on", "probability"], rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(header), ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Interval) -> str:
    if math.isnan(value.low):
        return _number(value.value)
    return f"{_number(value.value)} [{_number(value.low)}, {_number(value.high)}]"


def _number(value: float) -> str:
    """Three decimals below 10, one up to 1,000, none above; no minus before a zero."""
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1_000 else 0
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _numbers(value: Interval) -> list[str]:
    return [_exact(number) for number in (value.value, value.low, value.high)]


def _exact(number: float) -> str:
    """Nine digits, so that rounding errors do not show; empty if there is no number."""
    return "" if math.isnan(number) else f"{number:.9g}"


def _score_rows(found: Comparison) -> Iterable[tuple[object, ...]]:
    table = found.table
    for game in table.games:
        for agent in table.agents:
            for item in table.of_cell(agent, game):
                normalized = float(table.scales[game](item.score))
                yield game, agent, item.seed, item.env_step, _exact(item.score), _exact(normalized)


def _aggregate_rows(found: Comparison) -> Iterable[tuple[object, ...]]:
    for agent, values in found.statistics.items():
        for name, value in values.items():
            yield agent, name, *_numbers(value)


def _efficiency_rows(found: Comparison) -> Iterable[tuple[object, ...]]:
    for agent, band in found.efficiency.items():
        for step, *values in zip(found.moments, band.value, band.low, band.high, strict=True):
            yield agent, int(step), *map(_exact, values)
