"""Q-learning on Taxi: our compiled loop, our plain loop and the usual Python loop, steps per second in one run.

    python benchmarks/tabular.py [--steps N] [--rounds R] [--json]

The usual loop is that of tutorials: `gym.make`, a NumPy table, epsilon-greedy, returns kept in a list. All learn
from every step with alpha 0.1, epsilon 0.1, gamma 0.99 and no action mask, and keep episode returns and lengths; ours
go through `gymnast.training.loop.Loop`, which a run with logging uses too. Rounds alternate; medians are compared.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.tabular.learners import QLearning, QLearningConfig
from gymnast.envs import make
from gymnast.training.loop import Loop

ENV = "Taxi-v4"
ALPHA, EPSILON, GAMMA = 0.1, 0.1, 0.99


def usual(steps: int, seed: int) -> float:
    """Steps per second of the usual loop."""
    env = gym.make(ENV)
    rng = np.random.default_rng(seed)
    q = np.zeros((500, 6))
    returns, lengths = [], []
    state, _ = env.reset(seed=seed)
    total, length = 0.0, 0
    began = perf_counter()
    for _ in range(steps):
        action = int(rng.integers(6)) if rng.random() < EPSILON else int(np.argmax(q[state]))
        next_state, reward, terminated, truncated, _ = env.step(action)
        target = reward if terminated else reward + GAMMA * np.max(q[next_state])
        q[state, action] += ALPHA * (target - q[state, action])
        state, total, length = next_state, total + float(reward), length + 1
        if terminated or truncated:
            returns.append(total)
            lengths.append(length)
            state, _ = env.reset()
            total, length = 0.0, 0
    return steps / (perf_counter() - began)


def parts(seed: int, masks: bool) -> tuple[QLearning, Loop]:
    env = make(ENV, seed=seed, vectorization="serial")
    config = QLearningConfig(alpha=ALPHA, epsilon=EPSILON, gamma=GAMMA, action_masks=masks)
    agent = QLearning(env.single_observation_space, env.single_action_space, config, seed=seed)
    loop = Loop(agent, agent.actor(1, explore=True, seed=seed), env)
    env.reset()
    return agent, loop


def ours(steps: int, seed: int, *, compiled: bool, masks: bool = False) -> float:
    """Steps per second of our loop."""
    _, loop = parts(seed, masks)
    loop.compiled = compiled
    began = perf_counter()
    loop.advance(steps, lambda: False)
    return steps / (perf_counter() - began)


def same_table(steps: int, masks: bool) -> bool:
    """Whether both of our loops learn the same table and end in the same environment state, bit for bit."""
    tables = []
    for compiled in (True, False):
        agent, loop = parts(7, masks)
        loop.compiled = compiled
        loop.advance(steps, lambda: False)
        tables.append((agent.q.tobytes(), str(loop.env.snapshot()), loop.episodes.state_dict()))
    return tables[0] == tables[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the Python loops in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    equal = [same_table(20_000, masks) for masks in (False, True)]  # compiles both loops, too
    speeds: dict[str, list[float]] = {"usual": [], "plain": [], "compiled": [], "compiled with masks": []}
    for seed in range(options.rounds):
        speeds["usual"].append(usual(options.steps, seed))
        speeds["plain"].append(ours(options.steps // 5, seed, compiled=False))
        speeds["compiled"].append(ours(options.steps * 100, seed, compiled=True))
        speeds["compiled with masks"].append(ours(options.steps * 100, seed, compiled=True, masks=True))
    medians = {name: median(values) for name, values in speeds.items()}
    ratios = [fast / slow for fast, slow in zip(speeds["compiled"], speeds["usual"], strict=True)]
    result: dict[str, Any] = {
        "env": ENV,
        "steps_per_second": {name: round(value) for name, value in medians.items()},
        "rounds": {name: [round(value) for value in values] for name, values in speeds.items()},
        "compiled_over_usual": round(medians["compiled"] / medians["usual"], 1),
        "compiled_over_usual_by_round": [round(ratio, 1) for ratio in ratios],
        "same_table_bit_for_bit": all(equal),
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in medians.items():
        print(f"{name:20s} {value:14,.0f} steps/s {value / medians['usual']:8.1f} x usual")
    print(f"tables of the plain and the compiled loop equal, bit for bit: {result['same_table_bit_for_bit']}")


if __name__ == "__main__":
    main()
