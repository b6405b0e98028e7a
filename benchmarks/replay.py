"""Replay memories side by side: 100,000 Atari transitions of 8 environments, one thread, each in its own process.

    python benchmarks/replay.py [--contenders NAME ...] [--transitions 100000] [--rounds 3] [--peer-python PATH]
                                [--out FILE]

Microseconds to add a step of 8 environments and of 1, to sample 32 and 256 transitions and give them new priorities
(uniform replays only sample), and bytes of resident memory a transition. The contenders take turns within a round,
medians of the rounds are printed, then ours next to the fastest peer of each kind. Frames are random; obs and next_obs
are uint8 [4, 84, 84]; an episode lasts 500 steps. cpprb's compressed stacks support only one environment. A peer that
is not installed is named and left out; `--peer-python` runs the peers with another interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from replay_peers import Cpprb, StableBaselines3, Tianshou, TorchRL
from replay_task import ALPHA, BATCHES, BETA, EPISODE, PERIOD, Contender, Steps

FIGURES = ("add 8", "add 1", "sample 32", "sample 256", "bytes")


class Gymnast(Contender):
    def __init__(self, size: int, num_envs: int, kind: str) -> None:
        import torch
        from gymnasium import spaces

        from gymnast.replay.layout import Layout
        from gymnast.replay.ring import Ring
        from gymnast.replay.samplers import Prioritized, Uniform
        from gymnast.replay.transitions import NStep

        rng = np.random.default_rng(0)
        layout = Layout(spaces.Box(0, 255, (4, 84, 84), np.uint8), stack=4)
        sampler = Prioritized(rng, alpha=ALPHA, beta=lambda step: BETA, ranked=kind == "rank")
        self.ring = Ring(
            layout,
            Uniform(rng) if kind == "uniform" else sampler,
            NStep(1, 0.99),
            size=size,
            num_envs=num_envs,
            batch_size=BATCHES[0],
        )
        self.steps = Steps(num_envs)
        self.stacks = [torch.from_numpy(stack) for stack in self.steps.stacks]
        self.numbers = [torch.from_numpy(part) for part in (self.steps.action, self.steps.reward, *self.steps.flags)]
        self.torch, self.batch_size = torch, BATCHES[0]

    def add(self) -> None:
        steps, (action, reward, no, yes) = self.steps, self.numbers
        at, steps.time = steps.time % PERIOD, steps.time + 1
        self.ring.add(
            self.stacks[at],
            action,
            reward=reward,
            terminated=yes if steps.time % EPISODE == 0 else no,
            truncated=no,
            next_obs=self.stacks[(at + 1) % PERIOD],
            following=self.stacks[(at + 1) % PERIOD],
        )
        self.stored = self.ring.count

    def sample(self, batch: int, error: np.ndarray) -> None:
        if batch != self.batch_size:
            self.ring._prepare(batch)
            self.batch_size = batch
        sampled = self.ring.sample()
        self.ring.sampler.update(sampled.index, self.torch.from_numpy(error))


CONTENDERS: dict[str, tuple[Callable[[int, int, str], Contender], str]] = {
    "gymnast": (Gymnast, "uniform"),
    "gymnast prioritized": (Gymnast, "prioritized"),
    "gymnast by rank": (Gymnast, "rank"),
    "sb3": (StableBaselines3, "plain"),
    "sb3 optimized": (StableBaselines3, "optimized"),
    "tianshou": (Tianshou, "uniform"),
    "tianshou prioritized": (Tianshou, "prioritized"),
    "cpprb": (Cpprb, "uniform"),
    "cpprb prioritized": (Cpprb, "prioritized"),
    "torchrl": (TorchRL, "uniform"),
}


def measure(name: str, transitions: int) -> dict[str, float]:
    """All figures of one contender."""
    import torch

    torch.set_num_threads(1)
    build, kind = CONTENDERS[name]
    num_envs, figures = 1 if build is Cpprb else 8, {}
    _filled(build(4_000, num_envs, kind)).sample(BATCHES[0], np.ones(BATCHES[0], np.float32))  # imports, compiles
    before = _resident()
    replay = build(transitions, num_envs, kind)
    for _ in range(transitions // num_envs):
        replay.add()
    figures["bytes"] = (_resident() - before) / (replay.stored or transitions)
    figures[f"add {num_envs}"] = _microseconds(replay.add)
    for batch in BATCHES:
        error = np.random.default_rng(0).random(batch).astype(np.float32)
        figures[f"sample {batch}"] = _microseconds(lambda size=batch, error=error: replay.sample(size, error))
    if num_envs > 1:
        figures["add 1"] = _microseconds(_filled(build(4_000, 1, kind)).add)
    return figures


def _filled(replay: Contender) -> Contender:
    for _ in range(1_000):
        replay.add()
    return replay


def _resident() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGESIZE")


def _microseconds(call: Callable[[], Any], seconds: float = 0.6) -> float:
    """Median of single calls, after a tenth of the time to warm up."""
    samples, end, start = [], time.perf_counter() + seconds, time.perf_counter() + seconds / 10
    while (began := time.perf_counter()) < end or len(samples) < 20:
        call()
        if began > start:
            samples.append(time.perf_counter() - began)
    return 1e6 * statistics.median(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--transitions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.transitions)))
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in options.contenders}
    for _ in range(options.rounds):
        for name in list(rounds):
            figures = _in_process(name, options)
            if figures is None:
                del rounds[name]
            else:
                rounds[name].append(figures)
    medians = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in rounds.items()
    }
    _print(medians)
    if options.out:
        options.out.write_text(
            json.dumps({"transitions": options.transitions, "medians": medians, "rounds": rounds}), encoding="utf-8"
        )


def _in_process(name: str, options: argparse.Namespace) -> dict[str, float] | None:
    python = sys.executable if name.startswith("gymnast") else options.peer_python
    command = [python, __file__, "--one", name, "--transitions", str(options.transitions)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        print(f"{name}: left out, {done.stderr.strip().splitlines()[-1]}", flush=True)
        return None
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _print(medians: dict[str, dict[str, float]]) -> None:
    print("".ljust(22), *(name.rjust(11) for name in FIGURES))
    for name, figures in medians.items():
        shown = (f"{figures[key]:,.{0 if key == 'bytes' else 1}f}" if key in figures else "-" for key in FIGURES)
        print(name.ljust(22), *(text.rjust(11) for text in shown))
    print("\nfastest peer over ours")
    for name, peers in (
        ("gymnast", [name for name in medians if "gymnast" not in name and "prioritized" not in name]),
        ("gymnast prioritized", [name for name in medians if "gymnast" not in name and "prioritized" in name]),
        ("gymnast by rank", [name for name in medians if "gymnast" not in name and "prioritized" in name]),
    ):
        if name in medians and peers:
            ratios = (
                min((medians[peer][key] for peer in peers if key in medians[peer]), default=0.0) / medians[name][key]
                for key in FIGURES
            )
            print(name.ljust(22), *(f"{ratio:.2f}x".rjust(11) if ratio else "-".rjust(11) for ratio in ratios))


if __name__ == "__main__":
    main()
