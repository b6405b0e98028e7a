"""Does an agent keep what it has learned? DQN and its relatives on classic control, to the last step of the preset.

    python benchmarks/stable.py [--agents dqn rainbow ...] [--envs CartPole-v1 Acrobot-v1 ...] [--seeds 10]
                                [--first-seed 0] [--steps N] [--out FOLDER] [--json FILE]

Each agent and environment is one command, a population of all seeds without an early stop:
`gymnast train AGENT --env ENV --preset PRESET --seeds A:B --stop-return None`. LunarLander-v3 has no device-native
version and is trained seed by seed. An evaluation is solved from the mean return that Gymnasium registers as the
environment's threshold. Printed are, for each seed, the first solved evaluation, how many of the later ones are solved,
and the last one's mean return. With --out, finished populations and runs are kept, and not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym

from gymnast.cli.main import main as gymnast
from gymnast.envs.factory import native_version
from gymnast.storage import metrics_log

Curve = list[tuple[int, float]]
"""Evaluations of a seed: env step and mean return."""

PRESETS = {
    "CartPole-v1": "cartpole",
    "Acrobot-v1": "acrobot",
    "MountainCar-v0": "mountaincar",
    "LunarLander-v3": "lunarlander",
}


def measure(agent: str, env: str, seeds: range, out: Path, *, steps: int | None) -> list[dict[str, Any]]:
    """One row for each seed."""
    words = ["train", agent, "--env", env, "--preset", PRESETS[env], "--stop-return", "None", "--no-video"]
    words += ["--out", str(out)] + ([] if steps is None else ["--steps", str(steps)])
    if native_version(env) is not None:
        curves = population(words, out, seeds)
    else:
        curves = [single(words, out, seed) for seed in seeds]
    return [row(seed, curve, threshold(env)) for seed, curve in zip(seeds, curves, strict=True)]


def population(words: list[str], out: Path, seeds: range) -> list[Curve]:
    """The evaluations of each seed, all trained at once."""
    _, agent, _, env, *_ = words
    name = f"{env}-seeds{seeds.start}-{seeds.stop}"
    if not list(out.glob(f"*/{agent}/{name}/members.csv")):  # which a finished population has
        train([*words, "--seeds", f"{seeds.start}:{seeds.stop}", "--name", name])
    (found,) = out.glob(f"*/{agent}/{name}/evaluations.jsonl")  # below the environment that a population steps
    evaluations = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
    return [
        [(evaluation["env_step"], evaluation["returns"][member]) for evaluation in evaluations]
        for member in range(len(seeds))
    ]


def single(words: list[str], out: Path, seed: int) -> Curve:
    """The evaluations of a seed in a run of its own."""
    _, agent, _, env, *_ = words
    metrics = out / env / agent / f"{env}-seed{seed}" / "metrics.jsonl"
    if metrics_log.final_record(metrics) is None:
        train([*words, "--seed", str(seed), "--name", metrics.parent.name])
    records = metrics_log.read(metrics)
    return [(record["env_step"], record["mean_return"]) for record in records if record["kind"] == "eval"]


def train(words: list[str]) -> None:
    """Carry out a command of gymnast without its panel."""
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        code = gymnast(words)
    if code:
        raise SystemExit(f"gymnast {' '.join(words)}: {said.getvalue().strip().splitlines()[-1]}")


def threshold(env: str) -> float:
    """The mean return from which an environment counts as solved."""
    solved = gym.spec(env).reward_threshold
    assert solved is not None
    return float(solved)


def row(seed: int, curve: Curve, solved_from: float) -> dict[str, Any]:
    """What the evaluations of a seed say."""
    solved = [value >= solved_from for _, value in curve]
    first = solved.index(True) if True in solved else None
    later = [] if first is None else solved[first + 1 :]
    at = None if first is None else curve[first][0]
    return {"seed": seed, "first": at, "stayed": sum(later), "later": len(later), "last": curve[-1][1]}


def summary(rows: list[dict[str, Any]], solved_from: float) -> str:
    """The figures of one agent in one environment."""
    stayed, later = (sum(row[name] for row in rows) for name in ("stayed", "later"))
    last = sum(row["last"] >= solved_from for row in rows)
    return (
        f"{sum(row['first'] is not None for row in rows)} of {len(rows)} seeds solve it; "
        f"{stayed} of {later} evaluations after the first solved one are solved (target 90 %); "
        f"the last one is for {last} of {len(rows)} seeds (target 90 %)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=["dqn"], metavar="AGENT")
    parser.add_argument("--envs", nargs="+", default=["CartPole-v1"], choices=PRESETS, metavar="ID")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="env steps of a run; the preset's by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for env in args.envs:
            for agent in args.agents:
                rows = measure(agent, env, seeds, args.out or Path(temporary), steps=args.steps)
                print(f"== {agent}, {env}, solved from {threshold(env):g}", *rows, sep="\n", flush=True)
                print(summary(rows, threshold(env)), flush=True)
                results[f"{agent} {env}"] = rows
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
