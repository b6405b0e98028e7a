"""Agents that start from a fitted encoder, frozen or not, beside the same networks from scratch: env steps to a return.

    python benchmarks/encoders.py [--seeds 5] [--agents dqn ppo] [--jobs 2] [--out FOLDER] [--picture FILE]

On the 10x5 pixels of gymnast/Catch-v0. For each seed an encoder (LeNet-5's convolutions and one layer of 512 units) is
fitted to the dynamics of 20,000 random steps; then DQN and PPO learn from scratch with that network, with the encoder
frozen, and with it going on to learn. An evaluation of 50 greedy episodes every 500 env steps says when the mean return
first reaches 0.9 (the best is 1). The table counts the steps of pre-training apart, which both agents of a seed share.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ENV, FOLDER = "gymnast/Catch-v0", "gymnast-Catch-v0"
NETWORK = ["--network", "lenet5", "--hidden-sizes", "512"]
WANTED = 0.9
SETTINGS = {
    "dqn": ["--num-envs", "4"],
    "ppo": ["--num-envs", "8", "--learning-rate", "2e-3"],
}
HEAD = {"dqn": ["512"], "ppo": []}
"""Units of the head's own hidden layer, as `--hidden-sizes` lists them after the backbone's."""
VARIANTS = ("scratch", "frozen", "fine-tuned")


def gymnast(*words: str, sets: Path) -> None:
    """Run a command; its error ends the comparison."""
    env = {**os.environ, "MINARI_DATASETS_PATH": str(sets)}
    done = subprocess.run([sys.executable, "-m", "gymnast", *words], env=env, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"gymnast {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")


def pretrain(seed: int, steps: int, out: Path) -> float:
    """Fit an encoder; returns the seconds of recording and fitting."""
    began = time.perf_counter()
    words = ["fit", "dynamics", "--predict", "obs", "--env", ENV, "--env-steps", str(steps), *NETWORK]
    gymnast(*words, "--epochs", "15", "--seed", str(seed), "--name", str(seed), "--out", str(out), sets=out / "sets")
    return time.perf_counter() - began


def learn(agent: str, variant: str, seed: int, steps: int, out: Path) -> list[tuple[int, float]]:
    """The evaluations of a run: env steps and mean returns."""
    words = ["train", agent, "--env", ENV, "--steps", str(steps), "--seed", str(seed), *SETTINGS[agent]]
    words += ["--eval-every", "500", "--eval-episodes", "50", "--no-video", "--name", f"{variant}-{seed}"]
    if variant == "scratch":
        words += [*NETWORK, *HEAD[agent]]
    else:
        words += ["--encoder", str(out / FOLDER / "dynamics" / str(seed))]
        words += ["--freeze-encoder"] if variant == "frozen" else []
        words += ["--hidden-sizes", "512", *HEAD[agent]] if HEAD[agent] else []
    gymnast(*words, "--out", str(out), sets=out / "sets")
    file = out / FOLDER / agent / f"{variant}-{seed}" / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(row["env_step"], row["mean_return"]) for row in rows if row["kind"] == "eval"]


def reached(curve: list[tuple[int, float]]) -> int | None:
    return next((step for step, value in curve if value >= WANTED), None)


def draw(curves: dict[tuple[str, str], list[list[tuple[int, float]]]], file: Path) -> None:
    """Mean returns over the seeds, and their range."""
    from matplotlib.figure import Figure

    agents = list(dict.fromkeys(agent for agent, _ in curves))
    made = Figure(figsize=(5.5 * len(agents), 4), dpi=110, layout="constrained")
    for axes, agent in zip(made.subplots(1, len(agents), squeeze=False)[0], agents, strict=True):
        for color, variant in zip(("C7", "C0", "C1"), VARIANTS, strict=True):
            runs = curves[agent, variant]
            steps = [step for step, _ in runs[0]]
            values = [[run[index][1] for run in runs] for index in range(len(steps))]
            axes.plot(steps, [statistics.fmean(each) for each in values], color=color, label=variant)
            axes.fill_between(
                steps, [min(each) for each in values], [max(each) for each in values], color=color, alpha=0.15
            )
        axes.axhline(WANTED, color="black", linewidth=0.6, linestyle=":")
        axes.set_title(f"{agent} on {ENV}")
        axes.set_xlabel("env steps")
        axes.set_ylabel("mean return of 50 greedy episodes")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    made.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--agents", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--steps", type=int, default=20_000, help="env steps of each run")
    parser.add_argument("--pretraining", type=int, default=20_000, help="random steps that the encoders are fitted to")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--out", default="", help="folder for the runs")
    parser.add_argument("--picture", default="", help="file for the curves")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        out = Path(options.out or temporary)
        seconds = list(pool.map(lambda seed: pretrain(seed, options.pretraining, out), range(options.seeds)))
        spent = f"{statistics.median(seconds):.0f} s with fitting, per seed"
        print(f"pre-training: {options.pretraining:,} random steps, {spent}")
        asked = [(agent, variant) for agent in options.agents for variant in VARIANTS]
        jobs = [(*pair, seed) for pair in asked for seed in range(options.seeds)]
        learned = list(pool.map(lambda job: learn(*job, options.steps, out), jobs))
    curves: dict[tuple[str, str], list[list[tuple[int, float]]]] = {pair: [] for pair in asked}
    for (agent, variant, _), curve in zip(jobs, learned, strict=True):
        curves[agent, variant].append(curve)
    for (agent, variant), runs in curves.items():
        steps = [reached(run) for run in runs]
        shown = " ".join("-" if step is None else f"{step:,}" for step in steps)
        median = statistics.median([options.steps + 1 if step is None else step for step in steps])
        area = statistics.fmean(value for run in runs for _, value in run)
        written = f"> {options.steps:,}" if median > options.steps else f"{median:,.0f}"
        found = f"return {WANTED} after {written:>8} env steps (median)  mean return {area:5.2f}  [{shown}]"
        print(f"{agent:<5}{variant:<12}{found}")
    if options.picture:
        draw(curves, Path(options.picture))


if __name__ == "__main__":
    main()
