"""What autoencoders restore of frames, and what their encoders know of the state beside random ones.

    python benchmarks/pretrain_learning.py [--envs ALE/Pong-v5 ...] [--kinds variational vq-grid] [--updates 2000]
    python benchmarks/pretrain_learning.py --measure RUN [RUN ...]

20,000 steps of a random policy are recorded once for each environment. Every row is a run of `gymnast pretrain
autoencoder`, measured on the episodes that were kept for validation: the squared error of one number (pixels between 0
and 1) and the share of the variance that is restored (r2); the same share of only those numbers that differ from the
observation before, because a constant background hides what is missing; of Pong also of the field between the paddles,
where only the ball is. Rate, distortion (in nats where the decoder is a distribution) and the Fréchet distance of
samples are the run's own. `vq-grid` is VQ with a grid of codes over the image. Then follow the scores of `gymnast
probe` for the run's encoder and for one of the same architecture with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from gymnast.fitting.fit import options_of, parts_of
from gymnast.fitting.parts import load_kept
from gymnast.storage import folder

ENVS = ("ALE/Pong-v5", "gymnast/MinAtar-Breakout-v1")
KINDS = ("variational", "vq", "vq-grid", "denoising", "wasserstein")
NETWORKS = {"ALE/Pong-v5": "nature-cnn", "gymnast/MinAtar-Breakout-v1": "minatar-cnn"}
OPTIONS = {
    "variational": ("--latent-size", "32", "--anneal", "2000"),
    "denoising": ("--latent-size", "64", "--noise", "0.1"),
    "vq": ("--latent-size", "128"),
    "wasserstein": ("--latent-size", "32"),
}
GRIDS = {
    "ALE/Pong-v5": ("--code-grid", "7", "--codes", "512", "--code-size", "16", "--prior-units", "128"),
    "gymnast/MinAtar-Breakout-v1": ("--code-grid", "4"),
}
"""Options of `vq-grid`: of Pong the whole feature map, of Breakout as many codes as `vq` has."""
MEASURES = ("rate", "distortion", "active", "used_codes", "frechet")
FIELD = (slice(14, 77), slice(12, 72))
"""Rows and columns of Pong's frames between the walls and the paddles."""
CHANGED = 0.05
"""Difference from the observation before from which a number has changed."""
MEASURED = 2_000
"""Observations over which shares are computed, at most."""


def gymnast(words: list[str]) -> str:
    """The output of a command; its error ends the program."""
    done = subprocess.run([sys.executable, "-m", "gymnast", *words], capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"gymnast {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


@torch.no_grad()
def shares(run: Path) -> dict[str, float]:
    """Shares of the squared deviation from the mean that are restored: where numbers changed, and in Pong's field."""
    kept = folder.read_config(run)
    options = options_of(kept)
    task: Any = parts_of(kept, options, trust=False).task
    load_kept(task, run / "checkpoints" / "best.pt")
    mean, _ = task.moments(task.network.heads["target"])
    index = task.test[torch.isin(task.test - 1, task.test)]
    index = index[task.data.episode[index] == task.data.episode[index - 1]]
    index = index[:: max(len(index) // MEASURED, 1)]
    names = ["changed", *(["ball"] if task.env == "ALE/Pong-v5" else [])]
    sums = {name: torch.zeros(2, dtype=torch.float64) for name in names}
    for part in torch.split(index, 100):
        target, before = (task.target(task.batch(one).obs) for one in (part, part - 1))
        restored = task.decode(task.encode(task.batch(part).obs))
        errors = torch.stack([(restored - target).square(), (mean - target).square()])
        sums["changed"] += errors[:, (target - before).abs() > CHANGED].sum(1).double()
        if "ball" in sums:
            sums["ball"] += errors[..., FIELD[0], FIELD[1]].flatten(1).sum(1).double()
    return {name: 1.0 - float(error / deviation) for name, (error, deviation) in sums.items()}


def shown(score: float | None) -> str:
    """A score of `gymnast probe`: None where a target was constant in the test episodes."""
    return "-" if score is None else f"{score:.3f}"


def row(env: str, kind: str, options: argparse.Namespace, out: Path) -> str:
    """The figures of one run."""
    name, given = ("vq", GRIDS[env]) if kind == "vq-grid" else (kind, OPTIONS[kind])
    words = ["pretrain", "autoencoder", "--kind", name, "--env", env, "--network", NETWORKS[env], *given]
    words += ["--env-steps", str(options.env_steps), "--updates", str(options.updates)]
    words += ["--batch-size", str(options.batch_size), "--decoder-channels", str(options.decoder_channels)]
    words += ["--schedule", "one-cycle", "--learning-rate", str(options.learning_rate)]
    words += ["--eval-every", str(options.eval_every), "--seed", str(options.seed), "--out", str(out), "--name", kind]
    gymnast(words)
    run = out / folder.folder_name(env) / f"autoencoder-{name}" / kind
    final = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    seconds = json.loads((run / "timing.jsonl").read_text(encoding="utf-8").splitlines()[-1])["seconds"]
    found = {name: final[name] for name in ("mse", "r2")} | shares(run)
    found |= {name: final[name] for name in MEASURES if name in final}
    told = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in found.items())
    lines = [f"{env}, {kind}: {told}  ({final['update']:,} updates, {seconds:.0f} s)"]
    words = ["probe", str(run), "--env", env, "--steps", str(options.probe_steps), "--repeats", str(options.repeats)]
    targets = json.loads(gymnast([*words, "--json"]))["targets"]
    for name, scores in targets.items():
        own, random = (shown(scores[one]["mean"]) for one in ("encoder", "random"))
        lines.append(f"  {name:<20}{scores['measure']:<10}encoder {own}  random {random}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=list(ENVS), choices=ENVS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--env-steps", type=int, default=20_000)
    parser.add_argument("--updates", type=int, default=6_000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the largest one")
    parser.add_argument("--decoder-channels", type=int, default=16)
    parser.add_argument("--eval-every", type=int, default=2, help="epochs")
    parser.add_argument("--probe-steps", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3, help="of the probes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--out", help="folder for the runs and recordings, which are then kept")
    parser.add_argument("--measure", type=Path, nargs="+", metavar="RUN", help="only print the shares of these runs")
    options = parser.parse_args()
    for run in options.measure or ():
        print(run, "  ".join(f"{name} {value:.4g}" for name, value in shares(run).items()), flush=True)
    if options.measure:
        return
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        out = Path(options.out or temporary).resolve()
        os.environ.setdefault("MINARI_DATASETS_PATH", str(out / "sets"))
        for env in options.envs:
            first, *others = options.kinds
            print(row(env, first, options, out), flush=True)  # its recording serves the others
            for text in pool.map(lambda kind: row(env, kind, options, out), others):  # noqa: B023
                print(text, flush=True)


if __name__ == "__main__":
    main()
