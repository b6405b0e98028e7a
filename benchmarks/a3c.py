"""Speedup of A3C by workers: env steps per second of 1 and 2 (and more) processes on shared weights, on the CPU.

    python benchmarks/a3c.py [--env CartPole-v1] [--workers 1 2] [--rounds 3] [--seconds 6] [--json FILE]

Each worker has one environment, rollouts of 5 steps and one torch thread. The numbers of workers take turns within a
round; each is timed once its workers have begun. Target: 2 workers take 1.6 times the steps of 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.training.async_loop import AsyncLoop
from gymnast.training.parts import Parts

TARGET = 1.6
FIRST = 2_000
"""Env steps before the clock starts: processes start, functions are compiled."""


def rate(env: str, workers: int, seconds: float) -> float:
    """Env steps per second over all workers."""
    config = replace(agents.default_config("a3c"), workers=workers)
    with ExitStack() as stack:
        parts = Parts.make("a3c", TrainOptions(env=env, steps=1_000_000), config, env=None, stack=stack)
        loop = AsyncLoop(parts)
        stack.callback(loop.close)
        loop.advance(FIRST, lambda: False)
        began, before = time.perf_counter(), loop.env_step
        loop.advance(10**12, lambda: time.perf_counter() - began > seconds)
        return (loop.env_step - before) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="timed, of each number of workers and round")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rates: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    for number in range(arguments.rounds):
        for workers in arguments.workers if number % 2 == 0 else arguments.workers[::-1]:
            rates[workers].append(rate(arguments.env, workers, arguments.seconds))
            print(f"{workers} workers: {rates[workers][-1]:,.0f} steps/s", flush=True)
    print(f"\n{arguments.env}; medians (lowest, highest round)")
    single = statistics.median(rates[arguments.workers[0]])
    for workers, found in rates.items():
        middle = statistics.median(found)
        ratio = f"x{middle / single:.2f}"
        said = f", target x{TARGET} {'reached' if middle >= TARGET * single else 'missed'}" if workers == 2 else ""
        print(f"  {workers} workers {middle:9,.0f} steps/s ({min(found):,.0f}, {max(found):,.0f})  {ratio}{said}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rates, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
