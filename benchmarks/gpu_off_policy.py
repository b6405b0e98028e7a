"""Off-policy actor-critics on a GPU, in one command: python benchmarks/gpu_off_policy.py [--device cuda] [--modes …]

    update    microseconds of an update (batch 256, hidden layers of 256 and 256, six actions of 17 observed numbers):
              SAC, TD3, CrossQ and REDQ, captured, compiled, both, neither
    pendulum  the device-native Pendulum-v1, trained by SAC without leaving the device: env steps per second, and the
              greedy return over 100 episodes after 10,000 env steps

Every line is printed as soon as it is measured; the figures go as JSON to $OUT, or to runs/gpu. `--device cpu --small`
tries the measurements themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
import torch
from gpu_learner import BOTH, MODES, Bench
from gpu_report import finish, line, where, write
from gymnasium import spaces

from gymnast import agents
from gymnast.agents.base import Acted
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.settings import presets
from gymnast.training.loop import Loop

OBS = spaces.Box(-np.inf, np.inf, (17,), np.float32)
ACTIONS = spaces.Box(-1.0, 1.0, (6,), np.float32)
NAMES = ("SAC", "TD3", "CrossQ", "REDQ")
ENVS = 16


def update(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for name in NAMES:
        build = getattr(agents, name)
        for mode, options in bench.modes().items():
            if not options.keys() <= BOTH.keys():
                continue
            own = agents.OffPolicyActorCriticConfig() if name == "SAC" else build.config
            sizes = {"hidden_sizes": (256, 256), "replay_size": 10_000, "learning_starts": 0}
            config = dataclasses.replace(own, **sizes, **options)
            agent = build(OBS, ACTIONS, config, num_envs=ENVS, device=bench.device)
            fill(agent)
            for _ in range(2 * config.policy_period):  # both kinds of update
                agent.learn()
            row = bench.time(f"{name} update: {mode}", agent.learn)
            rows.append(said({**row, "ok": bool(torch.isfinite(agent.weights.data).all())}))
    return rows


def fill(agent: Any) -> None:
    """Store 100 steps of one endless episode in each row."""
    device, no = agent.device, torch.zeros(ENVS, dtype=torch.bool, device=agent.device)
    obs = torch.randn((ENVS, 17), device=device)
    for _ in range(100):
        following, action = torch.randn((ENVS, 17), device=device), torch.rand((ENVS, 6), device=device) * 2 - 1
        reward = torch.randn(ENVS, device=device)
        agent.store(
            obs, Acted(action, raw=action), Step(following, no, following, reward, no, no, num_active=ENVS, num_ended=0)
        )
        obs = following


def pendulum(bench: Bench) -> list[dict[str, Any]]:
    steps, cuda = (1_200 if bench.small else 10_000), bench.device.type == "cuda"
    env = make("gymnast/Pendulum-v1", ENVS, device=str(bench.device), seed=0)
    config = dataclasses.replace(presets.config("sac", "pendulum"), cuda_graphs=cuda, replay_size=20_000)
    agent = agents.SAC(
        env.single_observation_space, env.single_action_space, config, num_envs=ENVS, device=bench.device
    )
    env.reset()
    loop = Loop(agent, agent.actor(ENVS, explore=True, seed=1), env)
    began = time.perf_counter()
    loop.advance(steps, lambda: False)
    bench.wait()
    seconds = time.perf_counter() - began
    mean = greedy_return(agent, bench)
    row = {"check": f"Pendulum-v1, {steps:,} steps of SAC", "seconds": seconds, "steps_per_second": steps / seconds}
    return [said({**row, "greedy_return": mean, "ok": bench.small or mean > -200.0})]


def greedy_return(agent: Any, bench: Bench) -> float:
    """Mean return of 100 episodes of 200 steps."""
    rows = 4 if bench.small else 100
    env = make("gymnast/Pendulum-v1", rows, device=str(bench.device), seed=2)
    actor, obs, total = agent.actor(rows, explore=False, seed=3), env.reset(), torch.zeros(rows, device=bench.device)
    for _ in range(200):
        step = env.step(actor.act(obs, env.start).action)
        obs = step.obs
        total += step.reward
    return float(total.mean())


def said(row: dict[str, Any]) -> dict[str, Any]:
    print(f"  {line(row)}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=tuple(MODES), help="ways to run an update")
    parser.add_argument("--small", action="store_true", help="few calls and steps, to try the measurements themselves")
    arguments = parser.parse_args()
    bench = Bench(torch.device(arguments.device), arguments.small, tuple(arguments.modes))
    if bench.device.type == "cpu":
        torch.set_num_threads(1)
    rows = measure(bench)
    finish(rows, f"{where(bench.device)}, torch {torch.__version__}")


def measure(bench: Bench) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in (update, pendulum):
        rows += part(bench)
        write("gpu_off_policy", rows, bench.device)
    return rows


if __name__ == "__main__":
    main()
