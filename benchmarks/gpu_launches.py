"""The host's work in a stretch of training: launches per step, waits for the device, memory.

    python benchmarks/gpu_launches.py [--device cuda] [--envs 4096] [--agents ppo …] [--eager] [--json FILE]

PPO, A2C and PQN in the device-native CartPole-v1, rollouts and updates recorded on a GPU (`--eager`: not): kernels and
graphs that the host launches for each step of the environments (by torch's profiler), memory of the device, and what
fails under `torch.cuda.set_sync_debug_mode("error")`, where any wait for the device does. Without a GPU it counts
torch's operators.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from gpu_report import where
from torch.profiler import ProfilerActivity, profile

from gymnast.agents.optim.compiled import WARM_UP
from gymnast.envs import make
from gymnast.settings import agents
from gymnast.training.loop import Loop

AGENTS = ("ppo", "a2c", "pqn")
ROLLOUTS = 4


def stretch(agent: str, envs: int, device: torch.device, *, graphs: bool) -> dict[str, Any]:
    """One agent, its rollouts counted after those that record."""
    plain = agents.default_config(agent)
    config = type(plain)(**{**vars(plain), "cuda_graphs": graphs})
    env = make("gymnast/CartPole-v1", envs, device=device, seed=0)
    made = agents.agent_class(agent)(
        env.single_observation_space, env.single_action_space, config, num_envs=envs, device=device, seed=0
    )
    env.reset()
    loop = Loop(made, made.actor(envs, explore=True, seed=1), env)
    size = config.rollout_steps * envs
    loop.advance((WARM_UP + 2) * size, lambda: False)
    row: dict[str, Any] = {"agent": agent, "environments": envs, "recorded": graphs}
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        loop.advance((WARM_UP + 2 + ROLLOUTS) * size, lambda: False)
        if cuda:
            torch.cuda.synchronize(device)
    counts = {event.key: event.count for event in profiler.key_averages()}
    steps = ROLLOUTS * config.rollout_steps
    launches = sum(count for name, count in counts.items() if "LaunchKernel" in name or "GraphLaunch" in name)
    row["host_launches_per_step"] = launches / steps
    row["operators_per_step"] = sum(count for name, count in counts.items() if name.startswith("aten::")) / steps
    if cuda:
        row["memory_MB"] = torch.cuda.max_memory_allocated(device) / 2**20
        row["waits"] = _waits(loop, ROLLOUTS * size)
    return row


def _waits(loop: Loop, steps: int) -> str:
    """ "none", or the calls that waited for the device in this many env steps."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        rollout = loop._rollout
        if rollout is None:
            loop._advance(loop.env_step + steps, lambda: False)
        else:
            loop._advance_by_rollouts(rollout, loop.env_step + steps, lambda: False)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--envs", type=int)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=AGENTS)
    parser.add_argument("--eager", action="store_true", help="record nothing")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    cuda, rows = device.type == "cuda", []
    for agent in arguments.agents:
        row = stretch(agent, arguments.envs or (4096 if cuda else 64), device, graphs=cuda and not arguments.eager)
        rows.append(row)
        print(
            "  " + ", ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True
        )
    print(f"{where(device)}, torch {torch.__version__}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"where": where(device), "rows": rows}), encoding="utf-8")
    if any(row.get("waits", "none") != "none" for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
