"""Pretraining beside pythae and a bare PyTorch loop: updates per second, each in its own process, on the CPU.

    python benchmarks/pretrain.py [--rows vae wae wgan-gp] [--threads 1 2] [--rounds 3] [--peer-python PATH]
    python benchmarks/pretrain.py --memory 1000 10000 [--batch 128]

`vae` is a convolutional variational autoencoder of images of 84x84 pixels, in batches of 128: the Nature CNN as the
encoder, 32 latent numbers, transposed convolutions as the decoder, a Gaussian of deviation 1, Adam. Ours is the session
that `gymnast pretrain autoencoder --kind variational` runs, with its logs, evaluation and checkpoints, also with
`--bf16`, but without samples to measure, which pythae does not draw; pythae's is its trainer with the same layers; the
bare loop has torch's Adam and takes its batches from one tensor. `wae` has latents that are no distributions, and a
kernel's discrepancy from the prior: our kind `wasserstein` and pythae's WAE-MMD. `wgan-gp` has the same layers as
critic and generator, and five updates of the critic for each of the generator; pythae has no such model.

Each contender is timed over an epoch after a first one, in turns, every other round backwards; on a busy machine, the
processor time of an update says more than the rate. pythae comes from another environment's interpreter
(`--peer-python`, with `pip install pythae`). `--memory` prints our resident memory after each number of updates.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pretrain_vae
import pretrain_wae
import pretrain_wgan
from pretrain_task import Result, Setting


class Row(NamedTuple):
    """A model: the function of each contender, and how many times as fast as each peer we are to be."""

    contenders: dict[str, Callable[[Setting], Result]]
    targets: dict[str, float]


ROWS = {
    "vae": Row(
        {
            "gymnast": pretrain_vae.ours,
            "gymnast-bf16": partial(pretrain_vae.ours, bf16=True),
            "bare": pretrain_vae.bare,
            "pythae": pretrain_vae.pythae,
        },
        {"bare": 1.0, "pythae": 1.5},
    ),
    "wae": Row(
        {
            "gymnast": pretrain_wae.ours,
            "gymnast-bf16": partial(pretrain_wae.ours, bf16=True),
            "bare": pretrain_wae.bare,
            "pythae": pretrain_wae.pythae,
        },
        {"bare": 1.0, "pythae": 1.5},
    ),
    "wgan-gp": Row({"gymnast": pretrain_wgan.ours, "bare": pretrain_wgan.bare}, {"bare": 1.0}),
}
PEERS = ("pythae",)
"""Contenders that need the other interpreter."""


def resident() -> float:
    """Megabytes of this process in memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def memory(setting: Setting, updates: list[int]) -> Result:
    """The resident memory of our session after each number of updates."""
    session = pretrain_vae.our_session(setting, epochs=-(-max(updates) // setting.steps))
    found = {}
    for wanted in sorted(updates):
        session.total = wanted
        while session.updates < wanted:
            session._run_epoch()
        found[str(wanted)] = resident()
    return found


def worker(options: argparse.Namespace) -> None:
    """Run one contender in this process and print its result as JSON."""
    setting = Setting(options.threads[0], options.steps, options.batch, options.folder)
    if options.memory:
        print(json.dumps(memory(setting, options.memory)))
        return
    import torch

    profiler = torch.profiler.profile() if options.profile else nullcontext()
    with profiler:
        result = ROWS[options.rows[0]].contenders[options.only[0]](setting)
    if isinstance(profiler, torch.profiler.profile):
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25), file=sys.stderr)
    print(json.dumps(result))


def started(name: str, row: str, threads: int, options: argparse.Namespace, folder: Path) -> Result | None:
    """One contender in its own process; None if it is not installed or failed, which is reported on stderr."""
    python = options.peer_python if name in PEERS else sys.executable
    words = [python, __file__, "--worker", "--rows", row, "--only", name, "--threads", str(threads)]
    words += ["--steps", str(options.steps), "--batch", str(options.batch), "--folder", str(folder)]
    words += (["--memory", *map(str, options.memory)] if options.memory else []) + ["--profile"] * options.profile
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(words, capture_output=True, encoding="utf-8", env={**os.environ, **limits})
    if options.profile:
        print(done.stderr)
    if done.returncode:
        print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr)
        return None
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compare(row: str, threads: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Print and return the medians of one model with so many threads."""
    names = [name for name in ROWS[row].contenders if name in options.only]
    rounds: dict[str, list[Result]] = {name: [] for name in names}
    for number in range(options.rounds):
        # Every other round backwards: heat and load of the machine affect each contender equally.
        for name in names if number % 2 == 0 else names[::-1]:
            result = started(name, row, threads, options, folder)
            rounds[name] += [] if result is None else [result]
    medians = {
        name: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for name, results in rounds.items()
        if results
    }
    print(f"\n{row}, {threads} threads, batch {options.batch}; medians (lowest, highest round)")
    for name, middle in medians.items():
        rates = [result["rate"] for result in rounds[name]]
        spread = f"({min(rates):.2f}, {max(rates):.2f})"
        print(f"  {name:<14}{middle['rate']:>8.2f} updates/s {spread}  {middle['cpu_ms']:.0f} CPU ms")
    for own in medians:
        for peer, target in ROWS[row].targets.items():
            if own.startswith("gymnast") and peer in medians:
                mine, theirs = medians[own], medians[peer]
                wall, processor = mine["rate"] / theirs["rate"], theirs["cpu_ms"] / mine["cpu_ms"]
                print(f"  {own} / {peer}: x{wall:.2f} (CPU time x{processor:.2f}), target x{target:g}", flush=True)
    return {"row": row, "threads": threads, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    names = sorted({name for row in ROWS.values() for name in row.contenders})
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="run only these contenders")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch's threads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="updates of an epoch")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that pythae is installed in")
    parser.add_argument("--memory", type=int, nargs="+", help="print our resident memory after so many updates")
    parser.add_argument("--profile", action="store_true", help="with one --only: its time by torch's operators")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    with tempfile.TemporaryDirectory() as name:
        if options.memory:
            found = started("gymnast", "vae", options.threads[0], options, Path(name))
            for updates, megabytes in (found or {}).items():
                print(f"after {int(updates):,} updates: {megabytes:.1f} MB resident")
            return
        tables = [compare(row, count, options, Path(name)) for row in options.rows for count in options.threads]
    if options.json is not None:
        options.json.write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
