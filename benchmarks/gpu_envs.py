"""Random play in device-native environments, gymnax, pgx and Gymnasium: env steps per second, resets included.

    python benchmarks/gpu_envs.py [--games CartPole-v1 ...] [--envs 2048 16384] [--steps 1000] [--rounds 3]
        [--device cuda] [--threads 1] [--eager] [--peer-python PYTHON] [--only gymnast gymnax] [--json FILE]

Each contender draws random actions, steps N environments that reset automatically, and keeps the last observation and
the sum of rewards. gymnast is what the device runs: on a CPU the compiled rules of one row, through its adapter; on a
GPU 32 steps of its rules of tensors, random actions included, as one CUDA graph. The other form of each is
gymnast-tensors on a CPU, compiled if that is faster, and gymnast-rows on a GPU, 32 steps as one CUDA graph too: the
rules of one row compiled by numba-cuda, without which one line says so. Before it is timed, 64 steps of the other
form are compared with the first's, and nothing is timed if they differ. With `--eager` tensors run uncompiled too.
gymnax and pgx (only MinAtar's games) run all steps as one jitted scan over vmapped steps; Gymnasium its synchronous
vector environment, for few steps, only at the lowest N. The targets on a CPU are 4 times gymnax's and pgx's rate; on
a GPU gymnax's, and gymnast's for gymnast-rows; 50 times Gymnasium's.

One process for each contender, game and N, in random order; with `--jobs` several build and compile at once, and take
turns for the timed part. `compile_s` is the time before the timed steps: building, compiling and warming up. gymnax and
pgx are in another environment's interpreter (`--peer-python`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import contest
from contest import Profiler, Result
from gpu_envs_peers import run_gymnax, run_pgx
from gpu_envs_task import Task

CLASSIC = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0")
MINATAR = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
GAMES = (*CLASSIC, *(f"MinAtar/{name}-v1" for name in MINATAR))
FEW, MANY = (2**11, 2**14), (2**17, 2**20)
STEPS, CPU_STEPS, SYNC_STEPS = 1_000, 100, 20
TARGETS: dict[str, contest.Targets] = {
    "cpu": {"gymnast": {"gymnax": 4.0, "pgx": 4.0, "gymnasium": 50.0, "gymnast-tensors": None}},
    "cuda": {
        "gymnast": {"gymnax": 1.0, "pgx": None, "gymnasium": 50.0},
        "gymnast-rows": {"gymnast": 1.0, "gymnax": 1.0, "pgx": None, "gymnasium": None},
        "gymnast-eager": {"gymnax": None, "gymnasium": None},
    },
}


def run_gymnast(task: Task, profiler: Profiler) -> Result:
    """Our environment: on a CPU the rules of one row, on a GPU those of tensors."""
    from gpu_envs_play import Play, RowPlay

    return _timed(task, profiler, (lambda: RowPlay(task)) if task.device == "cpu" else lambda: Play(task, compile=True))


def run_rows(task: Task, profiler: Profiler) -> Result:
    """Our rules of one row on a GPU."""
    from gpu_envs_play import CudaPlay, agree

    try:
        agree(task)
    except ValueError as error:  # numba-cuda is not there
        raise SystemExit(str(error)) from error
    return _timed(task, profiler, lambda: CudaPlay(task))


def run_tensors(task: Task, profiler: Profiler, *, compile: bool = True) -> Result:
    """Our rules of tensors, without a `Step` around them."""
    from gpu_envs_play import Play, agree

    if task.device == "cpu":
        agree(task)
    return _timed(task, profiler, lambda: Play(task, compile=compile))


def _timed(task: Task, profiler: Profiler, build: Callable[[], Any]) -> Result:
    import torch
    from gpu_envs_play import wait

    began = time.perf_counter()
    game = build()
    with torch.no_grad():
        game.run(5 * game.block)
        wait(game.device)

        def timed_play() -> int:
            count = game.run(task.steps)
            wait(game.device)
            return count

        with profiler:
            result = task.timed(began, timed_play)
    if game.device.type == "cuda":
        result["MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return result


def run_eager(task: Task, profiler: Profiler) -> Result:
    return run_tensors(task, profiler, compile=False)


def run_gymnasium(task: Task, profiler: Profiler) -> Result:
    import gymnasium

    began = time.perf_counter()
    env = gymnasium.make_vec(task.game, task.envs, vectorization_mode="sync")
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(SYNC_STEPS)]
    env.step(actions[0])

    def play() -> int:
        for action in actions:
            env.step(action)
        return SYNC_STEPS

    return task.timed(began, play)


RUNS = {
    "gymnast": run_gymnast,
    "gymnast-tensors": run_tensors,
    "gymnast-rows": run_rows,
    "gymnast-eager": run_eager,
    "gymnax": run_gymnax,
    "pgx": run_pgx,
    "gymnasium": run_gymnasium,
}
OURS = ("gymnast", "gymnast-tensors", "gymnast-rows", "gymnast-eager", "gymnasium")
"""Contenders that run in this interpreter."""


def plays(name: str, game: str, envs: int, lowest: int) -> bool:
    """Whether a contender has a game and takes part with this many environments."""
    if name == "pgx":
        return game not in CLASSIC
    return name != "gymnasium" or (game in CLASSIC and envs == lowest)


def work(name: str, task: Task, *, profile: bool) -> None:
    """Run one contender in this process and print its result as JSON."""
    run = RUNS[name]
    if name.startswith("gymnast"):
        contest.work(lambda profiler: run(task, profiler), threads=task.threads, profile=profile)
        return
    if task.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["NPROC"] = str(task.threads)  # of XLA's own pool
        os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(task.threads > 1).lower()}"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # others share the GPU
    print(json.dumps(run(task, nullcontext())))


def compare(arguments: Any, games: list[str], device: str) -> list[dict[str, Any]]:
    """Every contender in every setting, in random order; print each setting's table."""
    without = {"gymnast-tensors" if device != "cpu" else "gymnast-rows"}  # what `gymnast` is there
    without |= set() if arguments.eager else {"gymnast-eager"}
    names = [name for name in arguments.only if name not in without]
    lowest = min(arguments.envs)
    settings = [(game, envs, threads) for game in games for envs in arguments.envs for threads in arguments.threads]
    jobs = [(s, name) for s in settings for name in names if plays(name, s[0], s[1], lowest)]
    results: dict[Any, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.NamedTemporaryFile() as lock, ThreadPoolExecutor(arguments.jobs) as pool:
        common = {"steps": arguments.steps, "device": device, "lock": lock.name}

        def measure(job: tuple[Any, str]) -> Result | None:
            (game, envs, threads), name = job
            python = sys.executable if name in OURS else arguments.peer_python
            options = {"games": game, "envs": envs, "threads": threads, **common}
            return contest.measure(__file__, name, python, options)

        for number in range(arguments.rounds):
            order = random.Random(number).sample(jobs, len(jobs))
            for (setting, name), result in zip(order, pool.map(measure, order), strict=True):
                if result is not None:
                    results[setting][name].append(result)
    figures = []
    for setting in settings:
        game, envs, threads = setting
        rounds = {name: results[setting][name] for name in names if results[setting][name]}
        _table(f"{game}, {envs:,} environments, {threads} threads, {device}", rounds, TARGETS[torch_type(device)])
        figures.append({"game": game, "envs": envs, "threads": threads, "device": device, "rounds": rounds})
    return figures


def torch_type(device: str) -> str:
    """cpu or cuda, of a device that may have a number."""
    return device.partition(":")[0]


def _table(title: str, rounds: dict[str, list[Result]], targets: contest.Targets) -> None:
    print(f"\n{title}; medians (lowest, highest round)")
    medians = {}
    for name, results in rounds.items():
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        rates = [result["steps_per_second"] for result in results]
        peak = f"{middle['MiB']:9.0f} MiB" if "MiB" in middle else ""
        print(
            f"  {name:14}{middle['steps_per_second']:16,.0f} steps/s ({min(rates):,.0f}, {max(rates):,.0f})"
            f"{middle['compile_s']:8.1f} s to compile{peak}"
        )
        medians[name] = middle
    contest.ratios("  ratios", medians, targets)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    parser = contest.parser(__doc__, RUNS, envs=())
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    parser.add_argument("--device", help="cuda or cpu; default: a GPU if available")
    parser.add_argument("--eager", action="store_true", help="gymnast uncompiled too")
    parser.add_argument("--jobs", type=int, default=1, help="processes that build and compile at once")
    parser.add_argument("--lock", default=os.devnull, help=argparse.SUPPRESS)
    parser.set_defaults(threads=[1])
    arguments = parser.parse_args()
    device = arguments.device or _device()
    small = device == "cpu"
    arguments.envs = arguments.envs or [*FEW, *(() if small else MANY)]
    arguments.steps = arguments.steps or (CPU_STEPS if small else STEPS)
    if arguments.worker or arguments.profile:
        task = Task(
            arguments.games[0], arguments.envs[0], arguments.steps, arguments.threads[0], device, arguments.lock
        )
        work(arguments.only[0], task, profile=arguments.profile)
        return
    if small:
        print(f"no GPU: {arguments.steps} steps; the full size is a GPU's")
    from gymnast.envs.registration import NATIVE, NATIVE_OF

    games = [game for game in arguments.games if NATIVE_OF.get(game) in NATIVE]
    for game in arguments.games:
        if game not in games:
            print(f"{game} has no device-native version: skipped")
    figures = compare(arguments, games, device)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
