"""Pretraining beside pythae and a bare PyTorch loop: updates per second, each in its own process, on the CPU.

    python benchmarks/pretrain.py [--rows vae] [--threads 1 2] [--rounds 3] [--steps 60] [--peer-python PATH]
    python benchmarks/pretrain.py --memory 1000 10000 [--batch 128]

`vae` is a convolutional variational autoencoder of images of 84x84 pixels, in batches of 128: the Nature CNN as the
encoder, 32 latent numbers, transposed convolutions as the decoder, a Gaussian of deviation 1, Adam. Ours is the session
that `gymnast pretrain autoencoder --kind variational` runs, with its logs, evaluation and checkpoints, also with
`--bf16`; pythae's is its trainer with the same layers; the bare loop has torch's Adam and takes its batches from one
tensor. Each contender is timed over an epoch after a first one, in turns, every other round backwards; on a busy
machine, the processor time of an update says more than the rate. pythae comes from another environment's interpreter
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
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDE, LATENT, LEARNING_RATE = 84, 32, 1e-3
Result = dict[str, float]
"""Updates per second, and processor milliseconds of an update."""
VALIDATION = 256
"""Images by which ours is measured after each epoch."""


class Setting(NamedTuple):
    """What a contender is run with."""

    threads: int
    steps: int
    """Updates of an epoch."""
    batch: int
    folder: Path

    def images(self) -> np.ndarray:
        """Images of squares on a dark ground, uint8 [N, 1, 84, 84]: those of an epoch, then those for validation."""
        rng = np.random.default_rng(0)
        found = np.full((self.steps * self.batch + VALIDATION, 1, SIDE, SIDE), 40, np.uint8)
        places = rng.integers(0, SIDE - 16, (len(found), 3, 2))
        for image, squares in zip(found, places, strict=True):
            for row, column in squares:
                image[0, row : row + 16, column : column + 16] = 200
        return found


class Clock:
    """The second epoch: wall time, and processor time, which a busy machine disturbs less."""

    def start(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def stop(self, steps: int) -> Result:
        processor, wall = time.process_time() - self.processor, time.perf_counter() - self.wall
        return {"rate": steps / wall, "cpu_ms": 1e3 * processor / steps}


def our_session(setting: Setting, *, epochs: int, bf16: bool = False) -> Any:
    """A session of `gymnast pretrain` without its command line."""
    import torch
    from gymnasium import spaces

    from gymnast.agents.supervised.table import config_class
    from gymnast.fitting import data as reading
    from gymnast.fitting.parts import Parts
    from gymnast.fitting.session import FitSession
    from gymnast.output.panel import Panel
    from gymnast.output.trackers import WandbSettings, Writers
    from gymnast.replay.datasets.labelled import Labelled
    from gymnast.settings.fit_options import FitOptions

    task = "autoencoder-variational"
    images = torch.from_numpy(setting.images())
    every = torch.arange(len(images))
    splits = {"train": every[:-VALIDATION], "validation": every[-VALIDATION:]}
    space = spaces.Box(0, 255, images.shape[1:], np.uint8)
    data = Labelled("bench", space, images, torch.zeros(len(images), 1), (), splits)
    reading.read = lambda *_, **__: data  # the images of all contenders
    config = config_class(task)(
        network="nature-cnn",
        latent_size=LATENT,
        output_std=1.0,
        batch_size=setting.batch,
        learning_rate=LEARNING_RATE,
        bf16=bf16,
    )
    out = Path(tempfile.mkdtemp(dir=setting.folder))
    options = FitOptions(dataset="bench", out=str(out), epochs=epochs, threads=setting.threads)
    parts = Parts.make(task, options, config)
    writers = Writers((), out, config={}, run_name="bench", wandb=WandbSettings(), axis="update")
    return FitSession(parts, out, panel=Panel("bench"), writers=writers)


def ours(setting: Setting, *, bf16: bool = False) -> Result:
    """Our session."""
    session, clock = our_session(setting, epochs=2, bf16=bf16), Clock()
    session._run_epoch()
    clock.start()
    session._run_epoch()
    return clock.stop(setting.steps)


def layers() -> tuple[Any, Any, Any]:
    """The layers of all contenders: encoder, the two halves of the latent's distribution in one, and decoder."""
    from torch import nn

    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 8, 4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3136, 512),
        nn.ReLU(),
    )

    class Decoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(LATENT, 128 * 6 * 6)
            widths = (128, 128, 64, 32, 1)
            self.layers = nn.ModuleList(nn.ConvTranspose2d(one, other, 4, 2, 1) for one, other in pairwise(widths))

        def forward(self, latent: Any) -> Any:
            images = self.first(latent).view(-1, 128, 6, 6)
            for layer, side in zip(self.layers, (11, 21, 42, 84), strict=True):
                images = layer(images.relu())[..., :side, :side]
            return images

    return encoder, nn.Linear(512, 2 * LATENT), Decoder()


def bare(setting: Setting) -> Result:
    """A plain loop."""
    import torch

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    images = torch.from_numpy(setting.images()[:-VALIDATION])
    encoder, latent, decoder = layers()
    network = torch.nn.ModuleList([encoder, latent, decoder])
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    clock = Clock()
    for _ in range(2):
        clock.start()
        for index in torch.randperm(len(images)).split(setting.batch):
            target = images[index].float() / 255
            mean, log_variance = latent(encoder(target)).chunk(2, 1)
            drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            error = 0.5 * (decoder(drawn) - target).square().flatten(1).sum(1)
            rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
            loss = (error + rate).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return clock.stop(setting.steps)


def pythae(setting: Setting) -> Result:
    """pythae's trainer."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    torch.set_num_threads(setting.threads)

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.latent, _ = layers()

        def forward(self, images: Any) -> Any:
            mean, log_variance = self.latent(self.layers(images)).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers()[2]

        def forward(self, latent: Any) -> Any:
            return ModelOutput(reconstruction=self.layers(latent))

    clock, results = Clock(), list[Result]()

    class Epochs(TrainingCallback):  # type: ignore[misc]
        def on_epoch_begin(self, training_config: Any, **_: Any) -> None:
            clock.start()

        def on_epoch_end(self, training_config: Any, **_: Any) -> None:
            results.append(clock.stop(setting.steps))

    images = torch.from_numpy(setting.images()[:-VALIDATION]) / 255
    model = VAE(VAEConfig(input_dim=(1, SIDE, SIDE), latent_dim=LATENT), encoder=Encoder(), decoder=Decoder())
    config = BaseTrainerConfig(
        output_dir=str(setting.folder / "pythae"),
        num_epochs=2,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=setting.batch,
        optimizer_cls="Adam",
        no_cuda=True,
    )
    data = BaseDataset(images, torch.zeros(len(images)))
    BaseTrainer(model=model, train_dataset=data, training_config=config, callbacks=[Epochs()]).train()
    return results[-1]


class Row(NamedTuple):
    """A model: the function of each contender, and how many times as fast as each peer we are to be."""

    contenders: dict[str, Callable[[Setting], Result]]
    targets: dict[str, float]


ROWS = {
    "vae": Row(
        {"gymnast": ours, "gymnast-bf16": partial(ours, bf16=True), "bare": bare, "pythae": pythae},
        {"bare": 1.0, "pythae": 1.5},
    )
}
PEERS = ("pythae",)
"""Contenders that need the other interpreter."""


def resident() -> float:
    """Megabytes of this process in memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def memory(setting: Setting, updates: list[int]) -> Result:
    """The resident memory of our session after each number of updates."""
    session = our_session(setting, epochs=-(-max(updates) // setting.steps))
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
