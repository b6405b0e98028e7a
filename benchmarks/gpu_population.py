"""Many PPO agents at once on CartPole-v1: seconds to train them, and how many of them solve it.

    python benchmarks/gpu_population.py [--members 2048] [--steps 500000] [--envs 4] [--device cuda] [--eager]
        [--compile] [--json FILE]

M agents with seeds 0 to M - 1 take S env steps each in N environments of their own (device-native); then each plays 10
greedy episodes on its own seeds. Settings are those of PureJaxRL's CartPole example: 128 steps of 4 environments, 4
epochs of 4 minibatches, a step size of 2.5e-4 that falls to 0, two layers of 64. "solved" is the share of agents whose
mean return is at least 475. For comparison, PureJaxRL's author reports 2,048 agents of 500,000 steps in 98 s on
an A100 (github.com/luchris429/purejaxrl), compiling included; other hardware and sizes are not comparable.

On a GPU acting and learning are recorded as CUDA graphs (not with `--eager`). Without a GPU all is small.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_report import where

from gymnast.agents import ActorCriticConfig
from gymnast.agents.population.actor_critic import ActorCriticPopulation
from gymnast.populations.environment import evaluation_env, noise_of, play, training_env
from gymnast.populations.session import summary
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.training.loop import Loop

SOLVED, TARGET = 475.0, 98.0
LARGE, SMALL = (2_048, 500_000), (16, 50_000)
"""Members and env steps of each, with and without a GPU."""


def settings(steps: int, *, graphs: bool, compile: bool) -> ActorCriticConfig:
    """PureJaxRL's."""
    return ActorCriticConfig(
        rollout_steps=128,
        epochs=4,
        minibatches=4,
        learning_rate=f"linear:2.5e-4:0:{steps}",
        value_clip=0.2,
        entropy_coef=0.01,
        cuda_graphs=graphs,
        compile=compile,
    )


def measure(options: TrainOptions, config: ActorCriticConfig, members: int) -> dict[str, Any]:
    """Build, train and evaluate; seconds of each and the results."""
    device = torch.device(options.device)
    began = time.perf_counter()
    seeds = [Seeds.of(seed) for seed in range(members)]
    env = training_env(options, seeds, device=options.device, compile=config.compile)
    population = ActorCriticPopulation(
        env.single_observation_space,
        env.single_action_space,
        config,
        seeds=[seed.agent for seed in seeds],
        num_envs=options.num_envs,
        device=device,
        noise=noise_of(options.device),
    )
    actor = population.actor(env.num_envs, explore=True, seed=[seed.actor for seed in seeds])
    loop = Loop(population, actor, env)
    built = _now(device)
    loop.advance(options.steps * members, lambda: False)
    trained = _now(device)
    greedy = population.actor(
        members * options.eval_episodes, explore=False, seed=[np.random.SeedSequence(seed.test) for seed in seeds]
    )
    returns, _ = play(greedy, evaluation_env(options, members, device=options.device), [seed.test for seed in seeds])
    scores = returns.mean(1).numpy()
    seconds = trained - built
    return {
        "members": members,
        "steps": population.member_step,
        "envs": options.num_envs,
        "build_s": built - began,
        "train_s": seconds,
        "steps_per_second": population.env_step / seconds,
        "evaluate_s": _now(device) - trained,
        "solved": float((scores >= SOLVED).mean()),
        **{f"{name}_return": value for name, value in summary(scores).items()},
    }


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int)
    parser.add_argument("--steps", type=int, help="env steps of each member")
    parser.add_argument("--envs", type=int, default=4, help="environments of each member")
    parser.add_argument("--device", help="cuda or cpu; default: a GPU if available")
    parser.add_argument("--eager", action="store_true", help="no CUDA graphs")
    parser.add_argument("--compile", action="store_true", help="compile environment and gradient")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    small = not device.startswith("cuda")
    members, steps = (arguments.members or (SMALL if small else LARGE)[0]), arguments.steps
    steps = steps or (SMALL if small else LARGE)[1]
    if small:
        print(f"no GPU: {members} members of {steps:,} steps; the target is that of a GPU")
        torch.set_num_threads(1)
    options = TrainOptions(env="gymnast/CartPole-v1", steps=steps, num_envs=arguments.envs, device=device)
    config = settings(steps, graphs=not small and not arguments.eager, compile=arguments.compile)
    row = {"device": where(torch.device(device)), "torch": torch.__version__, **measure(options, config, members)}
    for name, value in row.items():
        print(f"  {name:18}{value:,.3f}" if isinstance(value, float) else f"  {name:18}{value}")
    print(f"  PureJaxRL, {LARGE[0]:,} members of {LARGE[1]:,} steps on an A100, as published: {TARGET:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({**row, "purejaxrl_a100_s": TARGET}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
