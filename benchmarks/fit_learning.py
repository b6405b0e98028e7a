"""What fitted networks reach, over seeds, beside the figures that they are to reach.

    python benchmarks/fit_learning.py [--seeds 5] [--only digits-cnn ...] [--jobs 2]

Every figure is that of `gymnast fit` with the options below, on examples (or in episodes) that chose nothing but the
checkpoint. Splits of the digits are 80/20 by seed; XOR and the spirals have their own. `anbn` is trained on n = 1 to 10
and measured on n = 11 to 20: the share of strings of which every determined symbol is right. `behaviour-cloning` learns
from 20 episodes of a PPO agent in CartPole-v1 and plays 100; `distillation` brings a PQN agent of MinAtar Breakout into
a network of less than a tenth of its parameters, and both play 100 episodes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SPIRALS = "--hidden-sizes 40 40 40 --activation elu --init xavier --batch-size 194 --learning-rate 1e-2 --epochs 3000"
XOR = "--activation tanh --init xavier --learning-rate 0.05 --epochs 1000 --eval-every 100"
DIGITS = "--epochs 25 --schedule one-cycle --learning-rate 3e-3"
ANBN = "--network.units 3 --batch-size 1 --learning-rate 1e-2 --epochs 800 --eval-every 100"


@dataclass(frozen=True)
class Figure:
    """A figure of `gymnast fit`, averaged over seeds."""

    words: str
    measure: str
    target: str


FIGURES = {
    "digits-cnn": Figure(
        f"classify --dataset digits --network densenet --augment shift --label-smoothing 0.1 {DIGITS}",
        "accuracy",
        "0.985",
    ),
    "digits-mlp": Figure(f"classify --dataset digits --network mlp --label-smoothing 0.1 {DIGITS}", "accuracy", "0.97"),
    "digits-lstm": Figure(f"classify --dataset digits-rows --network lstm {DIGITS}", "accuracy", "0.97"),
    "xor-linear": Figure(f"classify --dataset xor --network linear {XOR}", "accuracy", "below 1"),
    "xor-hidden": Figure(f"classify --dataset xor --network mlp --hidden-sizes 8 {XOR}", "accuracy", "1"),
    "spirals": Figure(
        f"classify --dataset spirals --network mlp --network.shortcuts {SPIRALS} --schedule one-cycle --eval-every 100",
        "accuracy",
        "0.99",
    ),
    "spirals-plain": Figure(
        f"classify --dataset spirals --network mlp {SPIRALS} --schedule one-cycle --eval-every 100", "accuracy", "-"
    ),
    "anbn-lstm": Figure(f"classify --dataset anbn --network lstm {ANBN}", "sequence_accuracy", "-"),
    "anbn-elman": Figure(f"classify --dataset anbn --network rnn {ANBN}", "sequence_accuracy", "-"),
}
AGENTS = ("behaviour-cloning", "distillation")


def gymnast(words: list[str], sets: Path) -> str:
    """The output of a command; its error ends the program."""
    env = {**os.environ, "MINARI_DATASETS_PATH": str(sets)}
    done = subprocess.run([sys.executable, "-m", "gymnast", *words], env=env, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"gymnast {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def final(folder: Path) -> dict[str, float]:
    last: dict[str, float] = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return last


def fitted(name: str, seed: int, out: Path) -> float:
    """The measure of one run."""
    figure = FIGURES[name]
    words = ["fit", *figure.words.split(), "--seed", str(seed), "--out", str(out / name), "--name", str(seed)]
    gymnast(words, out)
    (folder,) = (out / name).glob(f"*/*/{seed}")
    return final(folder)[figure.measure]


def played(run: Path, sets: Path) -> float:
    """Mean return of 100 greedy episodes."""
    found: dict[str, float] = json.loads(gymnast(["evaluate", str(run), "--episodes", "100", "--json"], sets))
    return found["mean_return"]


def cloned(seed: int, out: Path) -> tuple[float, float]:
    """Mean returns of an agent of CartPole-v1, and of a policy cloned from 20 of its episodes."""
    common = ["--seed", str(seed), "--out", str(out / "bc"), "--name", str(seed)]
    gymnast(["train", "ppo", "--env", "CartPole-v1", "--steps", "150000", "--eval-every", "10000", *common], out)
    expert = out / "bc" / "CartPole-v1" / "ppo" / str(seed)
    data = f"bench/cartpole-{seed}-v0"
    gymnast(["record", str(expert), "--episodes", "20", "--dataset", data, "--seed", str(seed)], out)
    gymnast(["fit", "behaviour-cloning", "--dataset", data, "--epochs", "40", *common], out)
    (clone,) = (out / "bc").glob(f"bench-cartpole-{seed}-v0/behaviour-cloning/{seed}")
    return played(expert, out), played(clone, out)


def distilled(seed: int, out: Path) -> tuple[float, float, float, float]:
    """Mean returns of a MinAtar agent and of the small network that imitates it, and the parameters of both."""
    env = "gymnast/MinAtar-Breakout-v1"
    common = ["--seed", str(seed), "--out", str(out / "distil"), "--name", str(seed)]
    gymnast(["train", "pqn", "--preset", "minatar", "--env", env, "--steps", "1000000", "--no-video", *common], out)
    teacher = out / "distil" / "gymnast-MinAtar-Breakout-v1" / "pqn" / str(seed)
    small = ["--network", "minatar-cnn", "--hidden-sizes", "10", "--batch-size", "256", "--schedule", "one-cycle"]
    data = ["--env", env, "--policy", str(teacher), "--env-steps", "100000", "--learning-rate", "3e-3"]
    gymnast(["fit", "distillation", "--teacher", str(teacher), *data, *small, "--epochs", "20", *common], out)
    student = out / "distil" / "gymnast-MinAtar-Breakout-v1" / "distillation" / str(seed)
    sizes = final(student)
    return played(teacher, out), played(student, out), sizes["teacher_parameters"], sizes["parameters"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[*FIGURES, *AGENTS], choices=[*FIGURES, *AGENTS])
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    options = parser.parse_args()
    seeds = range(options.seeds)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        out = Path(folder)
        for name in options.only:
            if name == "behaviour-cloning":
                pairs = list(pool.map(lambda seed: cloned(seed, out), seeds))
                shown = "  ".join(f"{mine:.1f} of {theirs:.1f}" for theirs, mine in pairs)
                mean = statistics.fmean(mine for _, mine in pairs)
                print(f"{name:<18}return {mean:.1f} (target 490)  [{shown}]", flush=True)
            elif name == "distillation":
                rows = list(pool.map(lambda seed: distilled(seed, out), seeds))
                kept = statistics.fmean(row[1] for row in rows) / statistics.fmean(row[0] for row in rows)
                shown = "  ".join(f"{row[1]:.1f} of {row[0]:.1f}" for row in rows)
                sizes = f"{rows[0][3]:,.0f} of {rows[0][2]:,.0f} parameters"
                print(f"{name:<18}{kept:.1%} of the return with {sizes} (target 95%)  [{shown}]", flush=True)
            else:
                values = list(pool.map(lambda seed: fitted(name, seed, out), seeds))  # noqa: B023
                shown = " ".join(f"{value:.4f}" for value in values)
                measure, target = FIGURES[name].measure.replace("_", " "), FIGURES[name].target
                print(f"{name:<18}{measure} {statistics.fmean(values):.4f} (target {target})  [{shown}]", flush=True)


if __name__ == "__main__":
    main()
