"""How many episodes each way to explore needs until its greedy policy is solved: DeepSea of growing size, and a maze.

python benchmarks/exploration.py [--games deep-sea maze] [--sizes 10 20 30] [--methods NAME ...] [--seeds 3]
[--episodes 2000] [--json FILE] [--picture FILE]

With --json finished runs are kept, and a later call goes on after them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gymnast.cli.main import main as gymnast
from gymnast.reports import figures

COMMON = (
    "--hidden-sizes 50 50 --learning-rate 1e-3 --batch-size 64 --learning-starts 64 --train-period 2 --target-period 40"
)
METHODS = {
    "epsilon-greedy": "double-dqn --epsilon linear:1:0.05:5000",
    "noisy": "noisy-dqn --double",
    "counts": "double-dqn --epsilon linear:1:0.05:5000 --intrinsic counts",
    "rnd": "double-dqn --epsilon linear:1:0.05:5000 --intrinsic rnd",
    "icm": "double-dqn --epsilon linear:1:0.05:5000 --intrinsic icm",
    "episodic": "double-dqn --epsilon linear:1:0.05:5000 --intrinsic episodic",
    "bootstrapped": "bootstrapped-dqn",
}
"""Agent and options by the name of the method."""
MAZE = """
S....#......
.###.#.####.
...#.#.#....
.#.#...#.##.
.#.#####.#..
.#.......#.#
.#########.#
...........#
.#.######.##
.#......#..G
"""
"""One reward, behind walls and dead ends."""
CHECKS = 25
"""Episodes between greedy evaluations."""


def game(name: str, size: int, seed: int) -> tuple[str, dict[str, Any], int, float]:
    """Environment, options, most steps of an episode, and the return from which a greedy episode counts as solved."""
    if name == "maze":
        return "gymnast/Maze-v0", {"map": MAZE.strip().replace("\n", "/")}, 500, 0.5
    return "gymnast/DeepSea-v0", {"size": size, "randomise": True, "mapping_seed": seed}, size, 0.9


def run(name: str, size: int, method: str, seed: int, *, episodes: int) -> dict[str, Any]:
    """One run, as on the command line, until it is solved or its episodes are over."""
    env, options, length, solved = game(name, size, seed)
    with tempfile.TemporaryDirectory() as out:
        fixed = f"--env {env} --seed {seed} --steps {episodes * length} --stop-return {solved} --eval-episodes 1"
        fixed += f" --eval-every {CHECKS * length} --no-video --threads 1 --name one --out {out}"
        words = [
            "train",
            *METHODS[method].split(),
            *COMMON.split(),
            *fixed.split(),
            "--env-options",
            json.dumps(options),
        ]
        began = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
            code = gymnast(words)
        if code:
            raise SystemExit(f"gymnast {' '.join(words)} ended with exit code {code}: {said.getvalue()[-500:]}")
        (log,) = Path(out).rglob("metrics.jsonl")
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    evaluations = [record for record in records if record["kind"] == "eval"]
    done = next((record for record in evaluations if record["mean_return"] >= solved), None)
    return {
        "game": name,
        "size": size,
        "method": method,
        "seed": seed,
        "solved": done is not None,
        "env_steps": evaluations[-1]["env_step"] if done is None else done["env_step"],
        "seconds": round(time.perf_counter() - began, 1),
    }


def spent(row: dict[str, Any]) -> int:
    """Episodes of DeepSea, which all have as many steps as its size; env steps of a maze."""
    return int(row["env_steps"] // max(row["size"], 1))


def table(rows: list[dict[str, Any]]) -> str:
    """Median episodes of the seeds that solved each task, env steps in the maze, and how many did; Markdown."""
    tasks = sorted({(row["game"], row["size"]) for row in rows})
    titles = ["maze, env steps" if name == "maze" else f"size {size}" for name, size in tasks]
    lines = [f"| method | {' | '.join(titles)} |", "| --- |" + " --- |" * len(tasks)]
    for method in METHODS:
        cells = []
        for task in tasks:
            of = [row for row in rows if (row["game"], row["size"], row["method"]) == (*task, method)]
            done = [spent(row) for row in of if row["solved"]]
            median = f"{statistics.median(done):,.0f} " if done else ""
            cells.append(f"{median}({len(done)} of {len(of)})" if of else "")
        if any(cells):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], path: str) -> None:
    """Episodes until DeepSea is solved against its size, a line for each method and a point for each seed."""
    drawn = figures.new_figure(7.0, 4.5)
    axes = drawn.add_subplot()
    for number, method in enumerate(METHODS):
        of = [row for row in rows if row["method"] == method and row["game"] == "deep-sea" and row["solved"]]
        if of:
            sizes = sorted({row["size"] for row in of})
            medians = [statistics.median(spent(row) for row in of if row["size"] == size) for size in sizes]
            axes.plot(sizes, medians, color=f"C{number}", label=method)
            axes.plot([row["size"] for row in of], [spent(row) for row in of], "o", color=f"C{number}", markersize=3)
    axes.set(xlabel="size of DeepSea", ylabel="episodes until solved", yscale="log")
    axes.set_xticks(sorted({row["size"] for row in rows if row["size"]}))
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted("{x:,.0f}")
    axes.legend()
    drawn.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", nargs="+", default=["deep-sea", "maze"], choices=["deep-sea", "maze"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 20, 30], help="of DeepSea")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=2_000, help="after which a run ends unsolved")
    parser.add_argument("--json", help="where results are kept, and read again")
    parser.add_argument("--picture", help="of episodes against size")
    arguments = parser.parse_args()
    kept = Path(arguments.json) if arguments.json else None
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.exists() else []
    known = {(row["game"], row["size"], row["method"], row["seed"]) for row in rows}
    tasks = [(name, size) for name in arguments.games for size in (arguments.sizes if name == "deep-sea" else [0])]
    for task in tasks:
        for method in arguments.methods:
            for seed in range(arguments.seeds):
                if (*task, method, seed) in known:
                    continue
                rows.append(run(*task, method, seed, episodes=arguments.episodes))
                print(rows[-1], flush=True)
                if kept:
                    kept.write_text(json.dumps(rows, indent=1), encoding="utf-8", newline="\n")
    print(table(rows))
    if arguments.picture:
        picture(rows, arguments.picture)


if __name__ == "__main__":
    main()
