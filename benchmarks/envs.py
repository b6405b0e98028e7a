"""Steps per second of CartPole-v1 through each vectorization: the basis of the rule for `auto` in envs/factory.py.

    python benchmarks/envs.py [--env CartPole-v1] [--num-envs 1 2 4 8 16] [--seconds 1] [--rounds 5] [--out FILE]

Rounds alternate between the candidates, so that a busy machine slows all of them; the median of the rounds is printed.
An env step is a real transition: the steps in which a NEXT_STEP environment resets a row do not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast import envs

CANDIDATES = ("serial", "native", "async", "gymnasium sync", "gymnasium loop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    candidates = list(options.candidates)
    if gym.spec(options.env).vector_entry_point is None and "native" in candidates:
        candidates.remove("native")
    print(f"{options.env}, env steps/s, median of {options.rounds} rounds")
    print("N".rjust(4), *(name.rjust(16) for name in candidates))
    results: dict[int, dict[str, float]] = {}
    for num_envs in options.num_envs:
        results[num_envs] = measure(options, candidates, num_envs)
        print(str(num_envs).rjust(4), *(f"{results[num_envs][name]:,.0f}".rjust(16) for name in candidates), flush=True)
    if options.out:
        options.out.write_text(
            json.dumps({"env": options.env, "steps_per_second": results}, indent=2) + "\n", encoding="utf-8"
        )


def measure(options: argparse.Namespace, candidates: list[str], num_envs: int) -> dict[str, float]:
    """Median steps/s of each candidate, in alternating rounds."""
    runs: dict[str, Callable[[float], float]] = {}
    closes: list[Callable[[], Any]] = []
    for name in candidates:
        if name.startswith("gymnasium"):
            runs[name], close = baseline(name, options.env, num_envs)
        else:
            env = envs.make(options.env, num_envs, vectorization=name)
            env.reset()
            runs[name], close = lambda seconds, env=env: ours(env, seconds), env.close
        closes.append(close)
    speeds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name in candidates:
            speeds[name].append(runs[name](options.seconds))
    for close in closes:
        close()
    return {name: statistics.median(values) for name, values in speeds.items()}


def ours(env: envs.Env, seconds: float) -> float:
    actions = [torch.from_numpy(batch) for batch in action_batches(env.single_action_space, env.num_envs)]
    steps, index, began = 0, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(50):
            steps += env.step(actions[index]).num_active
            index = (index + 1) % len(actions)
    return steps / (time.perf_counter() - began)


def baseline(name: str, id: str, num_envs: int) -> tuple[Callable[[float], float], Callable[[], Any]]:
    """Gymnasium's own synchronous vector environment, or the bare loop over one environment at a time."""
    if name == "gymnasium sync":
        vector = gym.make_vec(id, num_envs, vectorization_mode="sync")
        vector.reset(seed=0)
        batches = action_batches(vector.single_action_space, num_envs)

        def run_vector(seconds: float) -> float:
            calls, resets, began = 0, 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                for _ in range(50):
                    _, _, terminated, truncated, _ = vector.step(batches[calls % len(batches)])
                    resets += int(np.count_nonzero(terminated | truncated))  # the next call ignores these rows' actions
                    calls += 1
            return (calls * num_envs - resets) / (time.perf_counter() - began)

        return run_vector, vector.close
    single = [gym.make(id, disable_env_checker=True) for _ in range(num_envs)]
    for seed, env in enumerate(single):
        env.reset(seed=seed)
    plain = [batch.tolist() for batch in action_batches(single[0].action_space, num_envs)]

    def run_loop(seconds: float) -> float:
        calls, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(50):
                for env, action in zip(single, plain[calls % len(plain)], strict=True):
                    _, _, terminated, truncated, _ = env.step(action)
                    if terminated or truncated:
                        env.reset()
                calls += 1
        return calls * num_envs / (time.perf_counter() - began)

    return run_loop, lambda: [env.close() for env in single]


def action_batches(space: gym.Space[Any], num_envs: int, count: int = 997) -> list[np.ndarray]:
    """Random actions, drawn beforehand so that drawing them costs nothing."""
    space.seed(0)
    return [np.array([space.sample() for _ in range(num_envs)]) for _ in range(count)]


if __name__ == "__main__":
    main()
