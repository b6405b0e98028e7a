"""Our agents and their peers in turns, each in its own process: the common part of the speed comparisons.

A contender is timed from a `Timed` to its `result`: env steps and updates per second, and processor milliseconds of a
step. Further keys of a result: "ms", a dict of where a step's time went, "versions", a text, and numbers by name, whose
medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

Profiler = AbstractContextManager[Any]
Result = dict[str, Any]
Medians = dict[str, dict[str, float]]
Targets = Mapping[str, Mapping[str, float | None]]
"""Target speed of an agent of ours as a multiple of a peer's; None without a target."""


class Timed:
    """From here to `result`: wall and processor time, which a busy machine disturbs less, and updates."""

    def __init__(self, updates: int) -> None:
        self.updates, self.wall, self.processor = updates, time.perf_counter(), time.process_time()

    def result(self, steps: int, updates: int, *, expected: int, allowed: float = 0.0) -> Result:
        processor, wall = time.process_time() - self.processor, time.perf_counter() - self.wall
        done = updates - self.updates
        if abs(done - expected) > allowed * expected:
            raise SystemExit(f"{done} updates in {steps} steps, not {expected}")
        return {"steps_per_second": steps / wall, "updates_per_second": done / wall, "cpu_ms": 1e3 * processor / steps}


def clocked(function: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    """The function, adding its seconds to `spent[name]`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        returned = function(*args, **kwargs)
        spent[name] += time.perf_counter() - began
        return returned

    return call


def parser(doc: str | None, contenders: Collection[str], *, envs: Sequence[int]) -> argparse.ArgumentParser:
    """The options of a comparison; `steps` has no default."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch's threads")
    made.add_argument("--envs", type=int, nargs="+", default=list(envs), help="environments stepped together")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--steps", type=int, help="timed env steps of each contender and round")
    made.add_argument("--peer-python", default=sys.executable, help="interpreter that the peers are installed in")
    made.add_argument("--only", nargs="+", choices=contenders, default=list(contenders), help="run only these")
    made.add_argument("--profile", action="store_true", help="with one --only: its time by torch's operators")
    made.add_argument("--json", type=Path, help="write the figures here")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made


def work(run: Callable[[Profiler], Result], *, threads: int, profile: bool) -> None:
    """Run one contender in this process and print its result as JSON."""
    import torch

    torch.set_num_threads(threads)
    profiler = torch.profiler.profile() if profile else nullcontext()
    result = run(profiler)
    if isinstance(profiler, torch.profiler.profile):
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30))
    print(json.dumps(result))


def take_turns(
    script: str, names: Sequence[str], options: Mapping[str, Any], *, rounds: int, peer_python: str
) -> dict[str, list[Result]]:
    """The results of each contender that ran, round by round; `options` are those of the script's worker."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    for number in range(rounds):
        # Every other round backwards: heat and load of the machine affect each contender equally.
        for name in names if number % 2 == 0 else names[::-1]:
            result = measure(script, name, sys.executable if name.startswith("gymnast") else peer_python, options)
            results[name] += [] if result is None else [result]
    return {name: of_rounds for name, of_rounds in results.items() if of_rounds}


def measure(script: str, name: str, python: str, options: Mapping[str, Any]) -> Result | None:
    """One contender in its own process; None if it is not installed or failed, reported on stderr."""
    command = [python, str(Path(script).resolve()), "--worker", "--only", name]
    for option, value in options.items():
        command += [f"--{option}"] * (value is not False) + [str(value)] * (not isinstance(value, bool))
    threads = str(options["threads"])
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, **limits})
    if done.returncode:
        print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr)
        return None
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    game = [options["games"]] if "games" in options else []
    setting = ", ".join([*game, f"{threads} threads", f"{options['envs']} envs"])
    rate, cpu = result["steps_per_second"], result["cpu_ms"]
    print(f"{name}, {setting}: {rate:.1f} steps/s, {cpu:.4g} CPU ms/step", file=sys.stderr, flush=True)
    return result


def table(title: str, rounds: dict[str, list[Result]]) -> Medians:
    """Print one setting's medians, and where our own time went; the medians."""
    print(f"\n{title}; medians (lowest, highest round)")
    medians = {}
    for name, results in rounds.items():
        numbers = [key for key in results[0] if key not in ("ms", "versions")]
        middle = {key: statistics.median(result[key] for result in results) for key in numbers}
        rates = [result["steps_per_second"] for result in results]
        others = [f", {key} {middle[key]:.1f}" for key in list(middle)[3:]]
        print(
            f"  {name:17}{middle['steps_per_second']:9.1f} steps/s ({min(rates):.1f}, {max(rates):.1f})"
            f"{middle['updates_per_second']:8.1f} updates/s{middle['cpu_ms']:9.4g} CPU ms/step" + "".join(others)
        )
        medians[name] = middle
    for name, results in rounds.items():
        if "ms" in results[0]:
            spent = {key: statistics.median(result["ms"][key] for result in results) for key in results[0]["ms"]}
            print(f"  {name}, ms/step: " + ", ".join(f"{key} {value:.3g}" for key, value in spent.items()))
        if "versions" in results[0]:
            print(f"  {name}: {results[0]['versions']}")
    return medians


def side_by_side(contenders: Mapping[str, Callable[[], float]], *, rounds: int, unit: str) -> dict[str, list[float]]:
    """Measure contenders in turns, and print the median of each with its lowest and highest round; all figures."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measured in contenders.items():
            found[name].append(measured())
    for name, figures in found.items():
        print(f"{name:14} {statistics.median(figures):8,.1f} {unit} ({min(figures):,.1f}, {max(figures):,.1f})")
    return found


def ratios(title: str, medians: Medians, targets: Targets) -> None:
    """Print how many times as fast we are as each peer, by wall and by processor time, and the target."""
    print(title)
    for ours, peers in targets.items():
        for peer, target in peers.items():
            if ours in medians and peer in medians:
                mine, theirs = medians[ours], medians[peer]
                wall = mine["steps_per_second"] / theirs["steps_per_second"]
                cpu = theirs["cpu_ms"] / mine["cpu_ms"]
                met = "" if target is None else f", target x{target} {'reached' if wall >= target else 'missed'}"
                print(f"  {ours} / {peer}: x{wall:.2f} (CPU time x{cpu:.2f}){met}")


def best(medians: Sequence[Medians]) -> Medians:
    """Each contender's fastest setting."""
    fastest: Medians = {}
    for setting in medians:
        for name, middle in setting.items():
            if name not in fastest or middle["steps_per_second"] > fastest[name]["steps_per_second"]:
                fastest[name] = middle
    return fastest
