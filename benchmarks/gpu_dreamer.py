"""Dreamer's update on a GPU: eager and recorded, by size, in float32 and bfloat16, and the memory over many updates."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from gpu_report import write
from gymnasium import spaces

from gymnast.agents import Dreamer, DreamerConfig
from gymnast.agents.base import Acted
from gymnast.envs.step import Step

FRAMES, VECTOR = spaces.Box(0, 255, (3, 64, 64), np.uint8), spaces.Box(-np.inf, np.inf, (4,))
STEPS = 200
"""Env steps stored before the first update."""


def measure(device: torch.device) -> list[dict[str, Any]]:
    """Milliseconds of an update of 16 sequences of 64 steps; smaller ones on a CPU, only to try the check."""
    on_gpu = device.type == "cuda"
    shape: dict[str, Any] = {} if on_gpu else {"batch_size": 2, "sequence_length": 8, "horizon": 3}
    rows: list[dict[str, Any]] = []
    for size in ("1m", "12m", "50m") if on_gpu else ("1m",):
        for name, space in (("vector", VECTOR), ("64x64x3", FRAMES)):
            for bf16 in (False, True):
                for recorded in (False, True) if on_gpu else (False,):
                    config = DreamerConfig(size=size, bf16=bf16, cuda_graphs=recorded, replay_size=2_000, **shape)
                    rows.append(_row(f"{size}, {name}", space, config, device))
                    write("gpu_dreamer", rows, device)
    return rows


def _row(name: str, space: spaces.Box, config: DreamerConfig, device: torch.device) -> dict[str, Any]:
    agent = Dreamer(space, spaces.Discrete(6), config, device=device)
    _fill(agent, space)
    count = 20 if device.type == "cuda" else 2
    for _ in range(5):  # recorded after three
        agent.learn()
    blocks = []
    for _ in range(5):
        _wait(device)
        began = time.perf_counter()
        for _ in range(count):
            agent.learn()
        _wait(device)
        blocks.append(1e3 * (time.perf_counter() - began) / count)
    held = _bytes(device)
    for _ in range(5 * count):
        agent.learn()
    _wait(device)
    return {
        "check": f"dreamer, {name}, {'bfloat16' if config.bf16 else 'float32'}, "
        f"{'recorded' if config.cuda_graphs else 'eager'}",
        "ms_median": statistics.median(blocks),
        "ms_lowest": min(blocks),
        "MB": held / 1e6,
        "MB_more": (_bytes(device) - held) / 1e6,
        "ok": bool(torch.isfinite(agent.weights.data).all()),
    }


def _fill(agent: Dreamer, space: spaces.Box) -> None:
    """Random observations of episodes of 50 steps."""
    actor, device = agent.actor(1, explore=True, seed=0), agent.device
    dtype = torch.uint8 if space.dtype == np.uint8 else torch.float32
    draws = torch.Generator().manual_seed(0)

    def observed() -> torch.Tensor:
        return torch.randint(0, 256, (1, *space.shape), generator=draws).to(device, dtype)

    obs, start = observed(), torch.tensor([True], device=device)
    no = torch.tensor([False], device=device)
    for number in range(STEPS):
        acted: Acted = actor.act(obs, start)
        ends = torch.tensor([number % 50 == 49], device=device)
        final = observed()
        following = observed() if number % 50 == 49 else final
        reward = torch.ones(1, device=device)
        agent.store(obs, acted, Step(following, ends, final, reward, ends, no, num_active=1, num_ended=int(ends)))
        obs, start = following, ends


def _bytes(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
