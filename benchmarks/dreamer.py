"""Dreamer beside SheepRL's and TorchRL's DreamerV3 on the CPU: env steps and updates, each in its own process.

    python benchmarks/dreamer.py [--sizes 1m 12m] [--obs state images] [--precisions f32 bf16] [--threads 1 2]
        [--rounds 3] [--steps 256] [--peer-python PATH] [--compile]
    python benchmarks/dreamer.py --only gymnast --sizes 1m --obs state --threads 1 --profile
    python benchmarks/dreamer.py --memory 1000 10000

Batches of 16 sequences of 64 steps, 32 replayed steps for each env step (so an update every 32 env steps), 15 imagined
steps, 255 bins, and the widths of the official implementation's `size1m` and `size12m`. `state` is Acrobot-v1 (6
numbers), `images` a made-up set of 64 pictures of 64x64x3 bytes. Each contender runs its own trainer from its beginning
and is timed from one update's end to another's, with env steps and replay. `update_ms` is one call of its update:
gradients, optimizer and slow value, with us also the batch drawn and its fresh latent states stored. All losses must
be finite and fall.

With `state` all three models have the same number of parameters. With `images` SheepRL's convolutions have 5x5 kernels
without a stride, and halve the size by a maximum afterwards; its decoder doubles the size before each convolution.
TorchRL's have 5x5 kernels of stride 2, ours 4x4; both peers project images from the recurrent state by blocks. TorchRL
has bfloat16 for CUDA only: here its loss runs under torch's autocast. `--compile` compiles the peers' updates by their
own options; on a busy machine, compare the processor time.

The peers are in another environment: `pip install sheeprl torchrl`. `--memory` prints our resident memory after so many
updates of a tiny batch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import contest
import dreamer_sheeprl
import dreamer_torchrl
from contest import Medians, Profiler, Result
from dreamer_task import (
    BATCH,
    ENVIRONMENTS,
    LEARNING_RATE,
    LENGTH,
    SIZES,
    STEPS,
    TRAIN_RATIO,
    Clock,
    Finished,
    Task,
    register,
)

WARM_UP = 3
"""Updates before a contender is timed."""
TARGET = 2.0
"""How many times as fast as each peer we are to be."""
PREDICTIONS = ("reconstruction", "reward", "ending")
TINY = {"batch_size": 2, "sequence_length": 4, "horizon": 2, "learning_starts": 64, "replay_size": 2_000}
"""Of the runs that only watch the memory."""


def run_gymnast(task: Task, profiler: Profiler) -> Result:
    """Our loop, as `gymnast train` runs it."""
    import torch

    clock = Clock(task, profiler)
    settings = {"batch_size": BATCH, "sequence_length": LENGTH, "learning_rate": LEARNING_RATE}
    loop = _loop(task, **settings, learning_starts=task.learning_starts)
    agent = loop.agent
    agent.learn = clock.around(agent.learn, lambda metrics: sum(float(metrics[f"{name}_loss"]) for name in PREDICTIONS))
    with suppress(Finished):
        loop.advance(task.steps, lambda: False)
    parameters = sum(part.numel() for part in agent.model.parameters() if part.requires_grad)
    return clock.finished(parameters=parameters, versions=f"torch {torch.__version__}")


def _loop(task: Task, **settings: Any) -> Any:
    """Our own loop before its first step."""
    from gymnast.agents import Dreamer, DreamerConfig
    from gymnast.envs import make
    from gymnast.training.loop import Loop

    register()
    env = make(ENVIRONMENTS[task.obs], task.envs, seed=0)
    config = DreamerConfig(**settings, size=task.size, bf16=task.bf16, train_ratio=TRAIN_RATIO, warmup=0)
    agent = Dreamer(env.single_observation_space, env.single_action_space, config, num_envs=task.envs, seed=0)
    env.reset()
    return Loop(agent, agent.actor(task.envs, explore=True, seed=0), env)


def memory(task: Task, updates: list[int], *, threads: int) -> None:
    """Print our resident memory after each number of updates."""
    import torch

    torch.set_num_threads(threads)
    loop = _loop(task, **TINY)
    for wanted in sorted(updates):
        while loop.agent.updates < wanted:
            loop.advance(loop.env_step + 1, lambda: False)
        print(f"after {wanted:,} updates: {resident():.1f} MB resident", flush=True)


def resident() -> float:
    """Megabytes of this process in memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


CONTENDERS = {"gymnast": run_gymnast, "sheeprl": dreamer_sheeprl.run, "torchrl": dreamer_torchrl.run}


def update_ratios(medians: Medians) -> None:
    """Print how many times as fast our update is as each peer's."""
    print("  update")
    for peer in [name for name in medians if name != "gymnast" and "gymnast" in medians]:
        mine, theirs = medians["gymnast"], medians[peer]
        wall, cpu = (theirs[key] / mine[key] for key in ("update_ms", "update_cpu_ms"))
        met = "reached" if wall >= TARGET else "missed"
        print(f"  gymnast / {peer}: x{wall:.2f} (CPU time x{cpu:.2f}), target x{TARGET} {met}", flush=True)


def compare(options: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all contenders in one setting; print and return their figures."""
    rounds = contest.take_turns(
        __file__, arguments.only, options, rounds=arguments.rounds, peer_python=arguments.peer_python
    )
    threads = f"{options['threads']} torch threads, {options['envs']} environments"
    title = f"{options['sizes']}, {options['obs']}, {options['precisions']}, {threads}"
    medians = contest.table(title + ", peers compiled" * options["compile"], rounds)
    contest.ratios("  env steps", medians, {"gymnast": dict.fromkeys(("sheeprl", "torchrl"), TARGET)})
    update_ratios(medians)
    return {**options, "rounds": rounds}


def main() -> None:
    parser = contest.parser(__doc__, CONTENDERS, envs=[1])
    parser.set_defaults(steps=8 * STEPS)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--obs", nargs="+", choices=ENVIRONMENTS, default=list(ENVIRONMENTS))
    parser.add_argument("--precisions", nargs="+", choices=("f32", "bf16"), default=["f32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="compile the peers' updates")
    parser.add_argument("--memory", type=int, nargs="+", help="print our resident memory after so many updates")
    arguments = parser.parse_args()
    if arguments.worker or arguments.profile or arguments.memory:
        work(arguments)
        return
    names = {"threads": arguments.threads, "envs": arguments.envs, "sizes": arguments.sizes}
    names |= {"obs": arguments.obs, "precisions": arguments.precisions}
    shared = {"steps": arguments.steps, "compile": arguments.compile}
    settings = [dict(zip(names, values, strict=True)) | shared for values in product(*names.values())]
    figures = [compare(setting, arguments) for setting in settings]
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8", newline="\n")


def work(arguments: argparse.Namespace) -> None:
    """One contender, or our memory, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        task = Task(
            size=arguments.sizes[0],
            obs=arguments.obs[0],
            bf16=arguments.precisions[0] == "bf16",
            envs=arguments.envs[0],
            compile=arguments.compile,
            warm_up=WARM_UP,
            updates=arguments.steps // STEPS,
            folder=folder,
        )
        if arguments.memory:
            memory(task, arguments.memory, threads=arguments.threads[0])
            return
        run = CONTENDERS[arguments.only[0]]
        contest.work(lambda profiler: run(task, profiler), threads=arguments.threads[0], profile=arguments.profile)


if __name__ == "__main__":
    main()
