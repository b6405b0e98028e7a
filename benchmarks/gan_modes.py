"""How many modes of a mixture GANs generate, and how many samples are near one, over seeds.

    python benchmarks/gan_modes.py [--seeds 5] [--dataset gaussians] [--kinds vanilla wgan wgan-gp ...] [--jobs 2]

Each run is `gymnast pretrain gan` with the options below, which all kinds share, on eight Gaussians on a circle (or
25 on a grid). The figures are those of the kept network, of as many samples as there are test examples: modes
that have a sample within three deviations, and the share of samples that are within three deviations of one. `last` is
the same of the last evaluation, because a generator may fall back.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LAYERS = "--hidden-sizes 128 128 128 --generator-sizes 128 128 128"
LEARNING = "--batch-size 128 --learning-rate 2e-3 --schedule cosine-annealing --average 0.99 --critic-steps 1"
KINDS = ("vanilla", "lsgan", "hinge", "wgan", "wgan-gp")


def run(kind: str, dataset: str, seed: int, epochs: int, out: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The measures of the kept network, and those of the last evaluation."""
    words = ["pretrain", "gan", "--kind", kind, "--dataset", dataset, *LAYERS.split(), *LEARNING.split()]
    words += ["--epochs", str(epochs), "--eval-every", str(max(epochs // 10, 1))]
    words += ["--seed", str(seed), "--out", str(out), "--name", str(seed)]
    done = subprocess.run([sys.executable, "-m", "gymnast", *words], capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"gymnast {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    path = out / dataset / f"gan-{kind}" / str(seed) / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return rows[-1], [row for row in rows if row["kind"] == "eval"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dataset", default="gaussians", choices=["gaussians", "gaussians-grid"])
    parser.add_argument("--kinds", nargs="+", default=["vanilla", "wgan-gp"], choices=KINDS)
    parser.add_argument("--epochs", type=int, default=80, help="passes over 8,000 points")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    options = parser.parse_args()
    print(f"{options.dataset}, {options.seeds} seeds, {options.epochs} epochs: modes and share of samples near one")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        for kind in options.kinds:
            seeds = range(options.seeds)
            ran = list(
                pool.map(lambda seed: run(kind, options.dataset, seed, options.epochs, Path(folder)), seeds)  # noqa: B023
            )
            for name, rows in (("kept", [kept for kept, _ in ran]), ("last", [last for _, last in ran])):
                near = statistics.fmean(row["near"] for row in rows)
                each = "  ".join(f"{row['modes']:.0f}, {row['near']:.1%}" for row in rows)
                lowest = min(row["modes"] for row in rows)
                print(f"{kind:<10}{name}  at least {lowest:.0f} modes  near {near:.1%}  [{each}]", flush=True)


if __name__ == "__main__":
    main()
