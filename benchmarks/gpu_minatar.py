"""MinAtar to the end on one device: PQN and PPO in the five device-native games.

    python benchmarks/gpu_minatar.py [--agents pqn ppo] [--games Breakout …] [--seeds 5] [--steps 10000000]
        [--device cuda] [--threads 1] [--compile] [--json FILE]

Both with their preset `minatar`: seconds of training, building and recording included, and the greedy return over 100
episodes of the agent as it is at the end. One row for each run, then for each agent and game the interquartile mean
over its seeds. On a GPU rollouts and updates are recorded as CUDA graphs. By default PQN takes 10 million env steps and
PPO 20 million; without a GPU all is small: Breakout, one seed, 50,000 steps. Target on a GPU: 15 s a game for PQN.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from gpu_report import where
from scipy.stats import trim_mean

from gymnast.envs import make
from gymnast.evaluation.environment import make_env
from gymnast.evaluation.play import evaluate
from gymnast.settings import agents, presets
from gymnast.training.loop import Loop

GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
STEPS = {"pqn": 10_000_000, "ppo": 20_000_000}
SMALL_STEPS, EPISODES, TARGET = 50_000, 100, 15.0


def run(agent: str, game: str, seed: int, steps: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run: build, train, evaluate."""
    device = torch.device(arguments.device)
    values = presets.apply(["minatar"], agent)
    cls = agents.agent_class(agent)
    plain = agents.default_config(agent)
    known = {name: value for name, value in values.items() if hasattr(plain, name)}
    settings = {**vars(plain), **known, "compile": arguments.compile, "cuda_graphs": device.type == "cuda"}
    config = type(plain)(**settings)
    envs, id = int(values["num_envs"]), f"gymnast/MinAtar-{game}-v1"
    began = time.perf_counter()
    env = make(id, envs, device=device, seed=seed, compile=arguments.compile)
    made = cls(env.single_observation_space, env.single_action_space, config, num_envs=envs, device=device, seed=seed)
    env.reset()
    loop = Loop(made, made.actor(envs, explore=True, seed=seed + 1), env)
    loop.advance(steps, lambda: False)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    result = evaluate(made, make_env(id, EPISODES, device=str(device)), episodes=EPISODES, seed=seed + 2)
    row = {"agent": agent, "game": game, "seed": seed, "env_steps": loop.env_step, "seconds": seconds}
    return {**row, "return": result.mean_return, "training_return": loop.episodes.means().get("return_mean")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=tuple(STEPS), default=["pqn", "ppo"])
    parser.add_argument("--games", nargs="+", choices=GAMES)
    parser.add_argument("--seeds", type=int, help="number of seeds, from 0 on")
    parser.add_argument("--steps", type=int, help="env steps of a run, of both agents")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="compile environment and updates")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    small = torch.device(arguments.device).type != "cuda"
    if small:
        print("no GPU: small runs" if arguments.steps is None else "no GPU")
    games = arguments.games or (["Breakout"] if small else GAMES)
    rows, returns, seconds = [], defaultdict(list), defaultdict(list)
    for seed in range(arguments.seeds or (1 if small else 5)):
        for agent in arguments.agents:
            for game in games:
                steps = arguments.steps or (SMALL_STEPS if small else STEPS[agent])
                row = run(agent, game, seed, steps, arguments)
                rows.append(row)
                returns[agent, game].append(row["return"])
                seconds[agent, game].append(row["seconds"])
                rate = row["env_steps"] / row["seconds"]
                figures = f"{row['return']:.1f} after {row['env_steps']:,} steps, {row['seconds']:.1f} s"
                print(f"  {agent} {game} seed {seed}: {figures} ({rate:,.0f} steps/s)", flush=True)
                if arguments.json is not None:
                    arguments.json.write_text(
                        json.dumps({"where": where(torch.device(arguments.device)), "rows": rows}), encoding="utf-8"
                    )
    print(f"\n{where(torch.device(arguments.device))}, torch {torch.__version__}; IQM over seeds of the greedy return")
    for agent, game in returns:
        mean, spent = trim_mean(returns[agent, game], 0.25), max(seconds[agent, game])
        verdict = "" if agent != "pqn" or small else f", target {TARGET:.0f} s {'met' if spent <= TARGET else 'missed'}"
        print(f"  {agent:<4} {game:<14} {mean:8.2f}   {spent:6.1f} s at most{verdict}")


if __name__ == "__main__":
    main()
