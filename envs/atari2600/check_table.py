"""The table of a comparison: a line for each game, from processes that play at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from gymnast.envs.atari2600.check import Outcome, play, play_modes, play_well
from gymnast.envs.atari2600.check_vector import play_vector

PLAY = {"random": play, "modes": play_modes, "search": play_well, "vector": play_vector}
Task = tuple[str, str, dict[str, Any]]
"""What is played, a game, and the arguments."""


def table(
    kind: str,
    names: Sequence[str],
    amounts: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    sticky: Sequence[float],
    jobs: int = 1,
) -> int:
    """Print a line for each game; how many differ somewhere. `amounts` are arguments of the function that plays."""
    times = list(itertools.product(seeds, sticky))
    tasks = [(kind, name, {**amounts, "seed": seed, "sticky": p}) for name in names for seed, p in times]
    outcomes = _run(tasks, jobs)
    width, different, frames = max(map(len, names)), 0, 0
    for name in names:
        found = [next(outcomes) for _ in times]
        where = next(
            (
                f"seed {s}, sticky {p}, {one.difference}"
                for (s, p), one in zip(times, found, strict=True)
                if one.difference
            ),
            None,
        )
        different += where is not None
        frames += sum(one.frames for one in found)
        print(f"{name:{width}}  {where or _equal(found)}", flush=True)
    print(f"{len(names) - different} of {len(names)} games are equal in {frames:,} frames")
    return different


def _equal(found: Sequence[Outcome]) -> str:
    frames, resets = sum(one.frames for one in found), sum(one.resets for one in found)
    return f"equal in {frames:,} frames, {resets:,} resets, scores up to {max(one.score for one in found):,}"


def _run(tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """The outcomes in order."""
    if jobs == 1:
        yield from map(_play, tasks)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield _play(tasks[0])  # compiles the console before the processes read it from the cache
        yield from pool.map(_play, tasks[1:])


def _play(task: Task) -> Outcome:
    kind, name, arguments = task
    outcome: Outcome = PLAY[kind](name, **arguments)  # type: ignore[operator]
    return outcome
