"""Fitting beside a bare PyTorch loop and Lightning: examples per second, each in its own process, on the CPU.

    python benchmarks/fit.py [--tasks classify behaviour-cloning] [--rounds 3] [--peer-python PATH]
    python benchmarks/fit.py --memory [--frames 1000000]

All fit the Nature CNN with a linear head by Adam (batches of 64, one thread of torch) to uint8 stacks of four 84x84
frames: `classify` from stacks in memory (a TensorDataset of the peers), `behaviour-cloning` from frames that are stored
once in a file (a Dataset of the peers that maps it and stacks four frames). The peers load with a DataLoader that
shuffles, in their own process. Each contender is timed over an epoch after a first one. Ours is the session that
`gymnast fit` runs, with its logs, evaluation and checkpoints. Lightning comes from another environment's interpreter
(`--peer-python`, with `pip install lightning`). `--memory` reads a data set of so many frames and prints the peak of
the resident memory.
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
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

BATCH, ACTIONS, STACK, SIDE = 64, 6, 4, 84
LEARNING_RATE = 1e-3
EPISODES = 16
TARGETS = {"bare": 1.0, "lightning": 1.3}
"""How many times as fast as a peer we are to be."""
CONTENDERS = ("gymnast", "bare", "lightning")


def make_data(folder: Path, episode: int) -> None:
    """Frames of whole episodes and a class of each, as arrays and as a data set in Minari's format."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (EPISODES * (episode + 1), SIDE, SIDE), dtype=np.uint8)
    np.save(folder / "frames.npy", frames)
    np.save(folder / "labels.npy", rng.integers(0, ACTIONS, EPISODES * episode))
    write_episodes(folder, "bench/frames-v0", frames, np.load(folder / "labels.npy"))


def write_episodes(folder: Path, name: str, frames: np.ndarray, labels: np.ndarray) -> None:
    """`EPISODES` episodes, one frame more than steps in each, recorded as stacks are."""
    import torch
    from gymnasium import spaces

    from gymnast.replay.datasets.writer import DatasetWriter

    space = spaces.Box(0, 255, (STACK, SIDE, SIDE), np.uint8)
    with DatasetWriter(
        name,
        observation_space=space,
        action_space=spaces.Discrete(ACTIONS),
        num_envs=1,
        frame_stack=STACK,
        root=folder / "sets",
    ) as writer:
        episode = len(labels) // EPISODES
        for first in range(0, len(labels), episode):
            begin = first + first // episode
            stack = np.stack([frames[begin]] * STACK)
            for step in range(episode):
                following = np.concatenate([stack[1:], frames[begin + step + 1][None]])
                last = torch.tensor([step == episode - 1])
                writer.add(
                    torch.from_numpy(stack[None]),
                    torch.tensor([labels[first + step]]),
                    reward=torch.zeros(1),
                    terminated=last,
                    truncated=torch.zeros(1, dtype=torch.bool),
                    next_obs=torch.from_numpy(following[None]),
                    rows=torch.zeros(1, dtype=torch.int64),
                    seeds=[None],
                )
                stack = following
        writer.finish({})


def stack_index(example: int, episode: int) -> list[int]:
    """The frames of an example's stack: the first of its episode repeated before it."""
    begin = example // episode * (episode + 1)
    frame = begin + example % episode
    return [max(frame - back, begin) for back in range(STACK - 1, -1, -1)]


def ours(task: str, folder: Path) -> float:
    """Examples per second of the session of `gymnast fit`, in its second epoch."""
    with closing(our_session(task, folder, epochs=2)) as session:
        session._run_epoch()
        began = time.perf_counter()
        session._run_epoch()
        return len(session.task.train) / (time.perf_counter() - began)


def our_session(task: str, folder: Path, *, epochs: int, name: str = "bench/frames-v0") -> Any:
    """A session of `gymnast fit` without its command line."""
    import torch
    from gymnasium import spaces

    from gymnast.agents.supervised.table import config_class
    from gymnast.fitting import data as reading
    from gymnast.fitting.parts import Parts
    from gymnast.fitting.session import FitSession
    from gymnast.output.panel import Panel
    from gymnast.output.trackers import WandbSettings, Writers
    from gymnast.replay.datasets.episodes import read_dataset
    from gymnast.replay.datasets.labelled import Labelled
    from gymnast.settings.fit_options import FitOptions

    torch.set_num_threads(1)
    config = config_class(task)(network="nature-cnn", batch_size=BATCH, learning_rate=LEARNING_RATE)
    if task == "classify":
        frames, labels = np.load(folder / "frames.npy"), np.load(folder / "labels.npy")
        stacks = np.stack([frames[stack_index(example, len(labels) // EPISODES)] for example in range(len(labels))])
        space = spaces.Box(0, 255, stacks.shape[1:], np.uint8)
        data: Any = Labelled(
            name, space, torch.from_numpy(stacks), torch.from_numpy(labels), tuple(map(str, range(ACTIONS)))
        )
    else:
        data = read_dataset(name, root=folder / "sets")
    out = Path(tempfile.mkdtemp(dir=folder))
    reading.read = lambda *_, **__: data  # the frames of all contenders
    options = FitOptions(dataset=name, out=str(out), epochs=epochs, validation=0.0625)
    parts = Parts.make(task, options, config)
    writers = Writers((), out, config={}, run_name="bench", wandb=WandbSettings(), axis="update")
    return FitSession(parts, out, panel=Panel("bench"), writers=writers)


def nature_cnn() -> Any:
    """The network of Mnih et al. 2015 with a linear head."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(STACK, 32, 8, 4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3136, 512),
        nn.ReLU(),
        nn.Linear(512, ACTIONS),
    )


def loader(task: str, folder: Path) -> Any:
    """A DataLoader of stacks and classes."""
    import torch
    from torch.utils.data import DataLoader, Dataset, TensorDataset

    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    if task == "classify":
        frames = np.load(folder / "frames.npy")
        stacks = np.stack([frames[stack_index(example, len(labels) // EPISODES)] for example in range(len(labels))])
        data: Any = TensorDataset(torch.from_numpy(stacks), labels)
    else:

        class Stacks(Dataset):  # type: ignore[type-arg]
            frames = np.load(folder / "frames.npy", mmap_mode="r")

            def __len__(self) -> int:
                return len(labels)

            def __getitem__(self, example: int) -> tuple[torch.Tensor, torch.Tensor]:
                return torch.from_numpy(self.frames[stack_index(example, len(labels) // EPISODES)]), labels[example]

        data = Stacks()
    return DataLoader(data, batch_size=BATCH, shuffle=True)


def bare(task: str, folder: Path) -> float:
    """Examples per second of a plain loop in its second epoch."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, batches = nature_cnn(), loader(task, folder)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    began = 0.0
    for _ in range(2):
        began = time.perf_counter()
        for images, target in batches:
            loss = functional.cross_entropy(network(images.float() / 255), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return len(batches.dataset) / (time.perf_counter() - began)


def lightning(task: str, folder: Path) -> float:
    """Examples per second of Lightning's trainer in its second epoch."""
    import lightning
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)

    class Model(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = nature_cnn()
            self.began: list[float] = []

        def training_step(self, batch: Any, index: int) -> Any:
            images, target = batch
            return functional.cross_entropy(self.network(images.float() / 255), target)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)

        def on_train_epoch_start(self) -> None:
            self.began.append(time.perf_counter())

        def on_train_epoch_end(self) -> None:
            self.ended = time.perf_counter()

    model = Model()
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    batches = loader(task, folder)
    trainer.fit(model, batches)
    return len(batches.dataset) / (model.ended - model.began[-1])


def memory(folder: Path, frames: int) -> None:
    """Write a data set of so many frames, fit to it, and print the peak of the resident memory."""
    import torch
    from gymnasium import spaces

    from gymnast.replay.datasets.writer import DatasetWriter

    rng = np.random.default_rng(0)
    space, length = spaces.Box(0, 255, (SIDE, SIDE), np.uint8), 1_000
    shown = rng.integers(0, 256, (64, SIDE, SIDE), dtype=np.uint8)
    with DatasetWriter(
        "bench/million-v0",
        observation_space=space,
        action_space=spaces.Discrete(ACTIONS),
        num_envs=1,
        root=folder / "sets",
    ) as writer:
        rows = torch.zeros(1, dtype=torch.int64)
        for step in range(frames):
            here, there = (torch.from_numpy(shown[(step + ahead) % 64][None]) for ahead in (0, 1))
            writer.add(
                here,
                torch.tensor([step % ACTIONS]),
                reward=torch.zeros(1),
                terminated=torch.tensor([step % length == length - 1]),
                truncated=torch.zeros(1, dtype=torch.bool),
                next_obs=there,
                rows=rows,
                seeds=[None],
            )
        writer.finish({})
    size = (folder / "sets" / "bench" / "million-v0" / "data" / "main_data.hdf5").stat().st_size
    words = [sys.executable, __file__, "--child", "memory", "behaviour-cloning", str(folder)]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, encoding="utf-8").stdout.splitlines()[-1])
    print(f"{frames:,} frames, {size / 1e9:.2f} GB on disk: peak memory {found['peak'] / 1e9:.2f} GB (target < 2)")
    print(f"{found['rate']:,.0f} examples/s over {found['updates']} updates of random batches")


def peak(folder: Path) -> dict[str, float]:
    """Fit some updates to the large data set."""
    session = our_session("behaviour-cloning", folder, epochs=1, name="bench/million-v0")
    order = session._order()[:1_500]
    began = time.perf_counter()
    for index in order:
        session.learners[0].update(session.task.batch(index), None)
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return {"peak": 1024.0 * kilobytes, "rate": len(order) * BATCH / seconds, "updates": len(order)}


def child(words: list[str]) -> None:
    name, task, folder = words[0], words[1], Path(words[2])
    if name == "memory":
        print(json.dumps(peak(folder)))
        return
    rate = {"gymnast": ours, "bare": bare, "lightning": lightning}[name](task, folder)
    print(json.dumps({"rate": rate}))


def run(name: str, task: str, folder: Path, python: str) -> float:
    words = [python, __file__, "--child", name, task, str(folder)]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout.splitlines()[-1])["rate"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["classify", "behaviour-cloning"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--episode", type=int, default=512, help=f"steps of each of the {EPISODES} episodes")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--frames", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.memory:
            memory(folder, options.frames)
            return
        make_data(folder, options.episode)
        for task in options.tasks:
            rates: dict[str, list[float]] = {name: [] for name in options.only}
            for _ in range(options.rounds):
                for contender in options.only:
                    python = options.peer_python if contender == "lightning" else sys.executable
                    rates[contender].append(run(contender, task, folder, python))
            own = statistics.median(rates.get("gymnast", [float("nan")]))
            for contender, found in rates.items():
                rate = statistics.median(found)
                spread = f"{min(found):,.0f} to {max(found):,.0f}"
                target = f"  target {TARGETS[contender]:.1f}" if contender in TARGETS else ""
                print(
                    f"{task:<20}{contender:<12}{rate:>8,.0f} examples/s  ({spread})  ours is {own / rate:.2f}x{target}"
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
