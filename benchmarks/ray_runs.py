"""Short runs through Ray beside the same runs as processes: what the cluster costs.

    python benchmarks/ray_runs.py [--runs 8] [--steps 20000] [--jobs 2] [--rounds 3] [--json FILE]

Both are `gymnast benchmark CartPole-v1 --agents dqn` with a seed for each run: with `--jobs N`, and with `--ray local`,
whose cluster has a CPU for each core. Seconds count from the start of the command to its end, report included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import contest


def seconds(place: list[str], runs: int, steps: int) -> float:
    """Seconds of the whole command."""
    with tempfile.TemporaryDirectory() as out:
        words = ["benchmark", "CartPole-v1", "--agents", "dqn", "--seeds", str(runs), "--steps", str(steps)]
        command = [sys.executable, "-m", "gymnast", *words, "--preset", "cartpole", "--out", out, *place]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        if done.returncode:
            raise SystemExit(done.stderr)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{args.runs} runs of {args.steps:,} env steps; medians (lowest, highest of {args.rounds} rounds)")
    places = {f"--jobs {args.jobs}": ["--jobs", str(args.jobs)], "--ray local": ["--ray", "local"]}
    contenders = {name: partial(seconds, place, args.runs, args.steps) for name, place in places.items()}
    found = contest.side_by_side(contenders, rounds=args.rounds, unit="s")
    processes, cluster = (statistics.median(times) for times in found.values())
    print(f"through Ray / processes: x{cluster / processes:.2f} (target at most 1.10)")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
