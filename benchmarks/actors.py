"""DQN with actors in other processes beside DQN that acts itself: steps per second of whole runs.

    python benchmarks/actors.py [--env CartPole-v1] [--actors 2] [--steps 20000] [--rounds 3] [--json FILE] [-- OPTIONS]

Both are `gymnast.train("dqn", ...)` with the same options, by default those of DQN's preset `cartpole` without
evaluations, and with as many updates per env step. Steps count from the first one to the last, without the start of the
processes. Options after `--` are options of `gymnast train dqn` for both.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import contest

from gymnast.settings import request
from gymnast.training.train import train

FIRST = 1_000
"""Env steps before the clock starts."""


class Clock:
    """Notes when the run is past its first env steps, and when it ended."""

    def __init__(self) -> None:
        self.began: tuple[float, int] | None = None
        self.ended = (0.0, 0)

    def __call__(self, agent: Any) -> None:
        self.ended = time.perf_counter(), agent.env_step
        if self.began is None and agent.env_step >= FIRST:
            self.began = self.ended

    def rate(self) -> float:
        """Env steps per second."""
        assert self.began is not None
        return (self.ended[1] - self.began[1]) / (self.ended[0] - self.began[0])


def steps_per_second(env: str, actors: int, steps: int, words: list[str]) -> float:
    """Of one run of DQN with this number of actors."""
    with tempfile.TemporaryDirectory() as out:
        plain = ["--env", env, "--steps", str(steps), "--out", out, "--no-video", "--eval-episodes", "1"]
        preset = ["--preset", "cartpole"] if env == "CartPole-v1" else []
        asked = request.resolve("dqn", [*plain, *preset, "--log-every", "500", *words], of="train dqn")
        options = dataclasses.replace(asked.options, eval_every=0, stop_return=None)
        clock = Clock()
        result = train("dqn", options, dataclasses.replace(asked.config, actors=actors), on_step=clock)
        if result.exit_code:
            raise SystemExit(result.exit_code)
        return clock.rate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("words", nargs="*", metavar="OPTIONS")
    args = parser.parse_args()
    print(f"DQN on {args.env}, {args.steps:,} env steps; medians (lowest, highest of {args.rounds} rounds)")
    measured = partial(steps_per_second, args.env, steps=args.steps, words=args.words)
    contenders = {"one process": partial(measured, 0), f"--actors {args.actors}": partial(measured, args.actors)}
    found = contest.side_by_side(contenders, rounds=args.rounds, unit="steps/s")
    alone, several = (statistics.median(rates) for rates in found.values())
    print(f"--actors {args.actors} / one process: x{several / alone:.2f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
