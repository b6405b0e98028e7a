"""The dream environment: imagined env steps per second and memory, by size of the world model and number of rows.

    python benchmarks/dream_env.py [--run RUN] [--sizes 1m 12m] [--obs vector pixels] [--envs 1 16 256]
        [--device cpu] [--threads 1] [--rounds 3] [--steps 100] [--json FILE]

Without --run the models are Dreamers with random weights (which take as long as learned ones), of CartPole-v1's
observations or of 64x64 colour images, and end no episode before its 500 steps. Actions are random. Medians of the
rounds. The memory is that of the weights, and of the rows: what is kept from step to step, and on a GPU the peak.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from gymnasium import spaces
from torch import Tensor

import gymnast
from gymnast.agents import Dreamer, DreamerConfig
from gymnast.agents.base import Imagined
from gymnast.envs.dreams.model import DreamModel
from gymnast.envs.dreams.vector import DreamVectorEnv

LIMIT = 500
HIGH = np.array([4.8, np.inf, 0.42, np.inf], np.float32)
SPACES = {"vector": spaces.Box(-HIGH, HIGH), "pixels": spaces.Box(0, 255, (64, 64, 3), np.uint8)}
MIB = 2**20


class Endless:
    """A world model whose episodes do not end, so that random weights begin no more episodes than learned ones."""

    def __init__(self, model: Dreamer) -> None:
        self.model, self.device = model, model.device
        self.observation_space, self.action_space = model.observation_space, model.action_space
        self.dream_start = model.dream_start

    def dream_step(self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float) -> Imagined:
        step = self.model.dream_step(state, action, generator, temperature=temperature)
        return replace(step, terminated=torch.zeros_like(step.terminated))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="measure the dream of this run instead")
    parser.add_argument("--sizes", nargs="+", default=["1m", "12m"])
    parser.add_argument("--obs", nargs="+", choices=SPACES, default=["vector"])
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="steps of all rows in a round")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = []
    for name, model in models(options):
        for rows in options.envs:
            result = {"model": name, "rows": rows, **measure(model, rows, options)}
            print(shown(result), flush=True)
            found.append(result)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8", newline="\n")


def models(options: argparse.Namespace) -> list[tuple[str, DreamModel]]:
    if options.run:
        return [(options.run, gymnast.dream(options.run, device=options.device).model)]
    made: list[tuple[str, DreamModel]] = []
    for obs in options.obs:
        for size in options.sizes:
            agent = Dreamer(SPACES[obs], spaces.Discrete(2), DreamerConfig(size=size), device=options.device, seed=0)
            made.append((f"dreamer {size}, {obs}", Endless(agent)))
    return made


def measure(model: DreamModel, rows: int, options: argparse.Namespace) -> dict[str, float]:
    env = DreamVectorEnv(model, rows, max_episode_steps=LIMIT)
    on_gpu = env.device.type == "cuda"
    actions = torch.randint(int(model.action_space.n), (options.steps, rows), device=env.device)  # type: ignore[attr-defined]
    env.move(actions[0])
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    before, began_with = psutil.Process().memory_info().rss, torch.cuda.memory_allocated() if on_gpu else 0
    speeds = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        for action in actions:
            env.move(action)
        if on_gpu:
            torch.cuda.synchronize()
        speeds.append(options.steps * rows / (time.perf_counter() - began))
    grown = torch.cuda.memory_allocated() - began_with if on_gpu else psutil.Process().memory_info().rss - before
    agent: Any = getattr(model, "model", model)
    return {
        "steps_per_second": statistics.median(speeds),
        "weights": held(agent.state_dict()["model"]),
        "kept_rows": held(env.snapshot()),
        "grown": grown,
        "peak": torch.cuda.max_memory_allocated() if on_gpu else 0,
    }


def held(state: Any) -> int:
    """Bytes of all tensors."""
    if isinstance(state, Tensor):
        return state.nbytes
    return sum(map(held, state.values())) if isinstance(state, dict) else 0


def shown(result: dict[str, Any]) -> str:
    text = (
        f"{result['model']}, {result['rows']} rows: {result['steps_per_second']:,.0f} imagined steps/s, weights "
        f"{result['weights'] / MIB:.1f} MiB, rows {result['kept_rows'] / MIB:.2f} MiB, grown by "
        f"{result['grown'] / MIB:.1f} MiB"
    )
    return f"{text}, peak {result['peak'] / MIB:.0f} MiB" if result["peak"] else text


if __name__ == "__main__":
    main()
