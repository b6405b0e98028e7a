"""Speedup of a population over the same single runs one after another.

    python benchmarks/population.py [--agent dqn pqn ppo a2c] [--env gymnast/CartPole-v1] [--members 32] [--steps 5000]
        [--envs N] [--singles 4] [--hidden-sizes 64 64] [--batch-size 64] [--device cpu] [--graphs] [--compile]
        [--json FILE]

M members with seeds 0 to M - 1 take S env steps each in their own N environments, at once and as single runs; the
algorithm's own settings and number of environments unless `--envs` sets another. Only the first `--singles` of the
single runs are made, in turns with the population's parts, and their time is scaled to M. "ratio" is the time of M
single runs over that of the population; "difference" is the largest between a member's parameters and those of its
single run, relative to the largest parameter, and shows that both learned the same (not on a GPU, where their random
numbers differ). Both run on one thread unless `--threads` sets another number, act in the same device-native
environment, and are warmed up first; building them is not measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
from gpu_report import where

from gymnast.agents.population.kinds import KINDS
from gymnast.agents.table import ALGORITHMS
from gymnast.envs.factory import make
from gymnast.machine import limit_threads
from gymnast.populations.environment import noise_of, training_env
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.training.loop import Loop


def population(options: TrainOptions, config: Any, members: int) -> Loop:
    """All members in one loop."""
    seeds = [Seeds.of(seed) for seed in range(members)]
    env = training_env(options, seeds, device=options.device, compile=config.compile)
    made = KINDS[type(config)](
        env.single_observation_space,
        env.single_action_space,
        config,
        seeds=[seed.agent for seed in seeds],
        num_envs=options.rows,
        device=options.device,
        noise=noise_of(options.device),
    )
    return Loop(made, made.actor(env.num_envs, explore=True, seed=[seed.actor for seed in seeds]), env)


def single(agent: str, options: TrainOptions, config: Any, seed: int) -> Loop:
    """The single run of a member."""
    seeds = Seeds.of(seed)
    env = make(options.env, options.rows, device=options.device, seed=seeds.env, native=True, compile=config.compile)
    env.reset()
    spaces_of = env.single_observation_space, env.single_action_space
    made: Any = agents.agent_class(agent)(
        *spaces_of, config, num_envs=options.rows, device=options.device, seed=seeds.agent
    )
    return Loop(made, made.actor(options.rows, explore=True, seed=seeds.actor), env)


def seconds(loop: Loop, until: int, device: torch.device) -> float:
    """The time that a loop takes until an env step."""
    began = time.perf_counter()
    loop.advance(until, lambda: False)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measure(agent: str, options: TrainOptions, config: Any, *, members: int, singles: int) -> dict[str, Any]:
    """Seconds of both and the results; the first tenth of the steps warms them up and is not counted."""
    device, steps = torch.device(options.device), options.steps
    together, alone = population(options, config, members), [single(agent, options, config, n) for n in range(singles)]
    seconds(together, steps // 10 * members, device)
    for loop in alone:
        seconds(loop, steps // 10, device)
    of_all, of_singles = 0.0, 0.0
    for number, loop in enumerate(alone):  # in turns, so that a busy machine slows down both
        until = steps // 10 + (steps - steps // 10) * (number + 1) // singles
        of_all += seconds(together, until * members, device)
        of_singles += seconds(loop, steps, device)
    rows = together.agent.parameters.detach()  # type: ignore[attr-defined]
    largest = max(
        float((rows[number] - loop.agent.weights.data).abs().max() / rows[number].abs().max())  # type: ignore[attr-defined]
        for number, loop in enumerate(alone)
    )
    taken = members * (steps - steps // 10)
    return {
        "agent": agent,
        "members": members,
        "steps": steps,
        "envs": options.rows,
        "population_s": of_all,
        "singles_s": of_singles * members / singles,
        "ratio": of_singles * members / singles / of_all,
        "population_steps_per_second": taken / of_all,
        "difference": largest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", nargs="+", default=["dqn", "pqn", "ppo", "a2c"])
    parser.add_argument("--env", default="gymnast/CartPole-v1")
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5_000, help="env steps of each member")
    parser.add_argument("--envs", type=int, help="environments of each member; the algorithm's own number")
    parser.add_argument("--singles", type=int, default=4, help="single runs that are made")
    parser.add_argument("--hidden-sizes", type=int, nargs="+", help="units of the hidden layers; the agent's own")
    parser.add_argument("--batch-size", type=int, help="of agents with a replay; their own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    print(f"{where(torch.device(arguments.device))}, torch {torch.__version__}, {arguments.env}")
    rows = []
    for agent in arguments.agent:
        envs = arguments.envs or ALGORITHMS[agent].run.get("num_envs", 1)
        options = TrainOptions(env=arguments.env, steps=arguments.steps, num_envs=envs, device=arguments.device)
        config = agents.default_config(agent)
        changes: dict[str, Any] = {"cuda_graphs": arguments.graphs, "compile": arguments.compile}
        changes |= {"hidden_sizes": tuple(arguments.hidden_sizes)} if arguments.hidden_sizes else {}
        changes |= {"batch_size": arguments.batch_size} if arguments.batch_size else {}
        config = dataclasses.replace(config, **changes)
        row = measure(agent, options, config, members=arguments.members, singles=arguments.singles)
        rows.append(row)
        print(
            f"  {agent:12}{row['members']:5} members of {row['steps']:,} steps: {row['population_s']:8.2f} s, "
            f"one after another {row['singles_s']:8.2f} s, ratio {row['ratio']:5.1f}, "
            f"{row['population_steps_per_second']:10,.0f} steps/s, difference {row['difference']:.1e}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
