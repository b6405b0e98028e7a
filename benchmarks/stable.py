"""Does an agent keep what it has learned? DQN and its relatives on classic control, to the last step of the preset.

    python benchmarks/stable.py [--agents dqn rainbow ...] [--envs CartPole-v1 Acrobot-v1 ...] [--seeds 10]
                                [--first-seed 0] [--steps N] [--out FOLDER] [--json FILE]

Each agent and environment is one command, a population of all seeds without an early stop:
`gymnast train AGENT --env ENV --preset PRESET --seeds A:B --stop-return None`. An evaluation is solved from the mean
return that Gymnasium registers as the environment's threshold. Printed are, for each seed, the first solved evaluation,
how many of the later ones are solved, and the last one's mean return. With --out finished populations are kept, and
not run again.
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

PRESETS = {
    "CartPole-v1": "cartpole",
    "Acrobot-v1": "acrobot",
    "MountainCar-v0": "mountaincar",
    "LunarLander-v3": "lunarlander",
}


def measure(agent: str, env: str, seeds: range, out: Path, *, steps: int | None) -> list[dict[str, Any]]:
    """One row for each seed."""
    name = f"{env}-seeds{seeds.start}-{seeds.stop}"
    if not list(out.glob(f"*/{agent}/{name}/members.csv")):  # which a finished population has
        words = ["train", agent, "--env", env, "--preset", PRESETS[env], "--seeds", f"{seeds.start}:{seeds.stop}"]
        words += ["--stop-return", "None", "--no-video", "--out", str(out), "--name", name]
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
            code = gymnast(words + ([] if steps is None else ["--steps", str(steps)]))
        if code:
            raise SystemExit(f"gymnast {' '.join(words)}: {said.getvalue().strip().splitlines()[-1]}")
    (found,) = out.glob(f"*/{agent}/{name}/evaluations.jsonl")  # below the environment that a population steps
    return rows_of(found, seeds, threshold(env))


def threshold(env: str) -> float:
    """The mean return from which an environment counts as solved."""
    solved = gym.spec(env).reward_threshold
    assert solved is not None
    return float(solved)


def rows_of(file: Path, seeds: range, solved_from: float) -> list[dict[str, Any]]:
    """What the evaluations of a population say about each seed."""
    evaluations = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = []
    for member, seed in enumerate(seeds):
        returns = [evaluation["returns"][member] for evaluation in evaluations]
        solved = [value >= solved_from for value in returns]
        first = solved.index(True) if True in solved else None
        later = [] if first is None else solved[first + 1 :]
        at = None if first is None else evaluations[first]["env_step"]
        rows.append({"seed": seed, "first": at, "stayed": sum(later), "later": len(later), "last": returns[-1]})
    return rows


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
