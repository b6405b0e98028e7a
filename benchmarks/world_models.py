"""World models (Ha & Schmidhuber 2018): scores inside the dream and outside, and what the dream's temperature does.

    python benchmarks/world_models.py [--env ID] [--seeds N] [--steps N] [--temperatures T ...] [--generations N]
        [--model-updates N] [--episodes N] [--out DIR] [--json]

Solving: runs of `--steps` env steps in rounds; the final controller plays `--episodes` episodes outside and as many
dreams. Temperatures: one model for each seed, learned from random play only, and in its dream one controller for each
temperature; each is scored in the dream where it learned, in the dream at temperature 1, and outside.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gymnast.agents import WorldModels, WorldModelsConfig
from gymnast.envs import make
from gymnast.evaluation import evaluate

TEST_SEED = 10_000
"""Seed of the episodes outside."""
MEASURED = ("inside", "at_1", "outside")
"""Scores of a controller: in the dream where it learned, in the dream at temperature 1, and in the environment."""


def learned(env_id: str, config: WorldModelsConfig, *, steps: int, seed: int, until: int | None = None) -> WorldModels:
    """An agent after so many env steps, or after `until` updates if they come first."""
    env = make(env_id, seed=seed)
    agent = WorldModels(env.single_observation_space, env.single_action_space, config, seed=seed)
    actor = agent.actor(1, explore=True, seed=seed)
    env.reset()
    while agent.env_step < steps and (until is None or agent.updates < until):
        obs, acted = env.obs, actor.act(env.obs, env.start)
        agent.store(obs, acted, env.step(acted.action))
        for _ in range(agent.updates_due(agent.env_step)):
            agent.learn()
    env.close()
    return agent


def scores(agent: WorldModels, env_id: str, *, episodes: int, temperature: float) -> tuple[float, float]:
    """Mean returns of the controller inside the dream and outside."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    inside = agent.dream_returns(agent.policy.unsqueeze(0), generator, dreams=episodes, temperature=temperature)
    outside = evaluate(agent, env_id, episodes=episodes, seed=TEST_SEED)
    return float(inside.mean()), outside.mean_return


def solved(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run in rounds."""
    began, config = time.process_time(), WorldModelsConfig(model_updates=options.model_updates)
    agent = learned(options.env, config, steps=options.steps, seed=seed)
    inside, outside = scores(agent, options.env, episodes=options.episodes, temperature=config.temperature)
    return {"seed": seed, "inside": inside, "outside": outside, "seconds": round(time.process_time() - began, 1)}


def by_temperature(options: argparse.Namespace, seed: int) -> dict[float, dict[str, float]]:
    """Controllers evolved in the dream of one model at each temperature."""
    config = WorldModelsConfig(model_updates=options.model_updates, generations=options.generations)
    updates = config.model_updates
    model = learned(options.env, config, steps=config.learning_starts + 2 * updates, seed=seed, until=updates)
    found = {}
    for temperature in options.temperatures:
        spaces, own = (model.observation_space, model.action_space), replace(config, temperature=temperature)
        agent = WorldModels(*spaces, own, seed=seed)
        agent.load_state_dict(model.state_dict())
        for _ in range(options.generations):
            agent.learn()
        inside, outside = scores(agent, options.env, episodes=options.episodes, temperature=temperature)
        as_learned, _ = scores(agent, options.env, episodes=options.episodes, temperature=1.0)
        found[temperature] = {"inside": inside, "at_1": as_learned, "outside": outside}
    return found


def spread(values: list[float]) -> str:
    """Mean, and standard deviation over seeds."""
    return f"{np.mean(values):7.1f} ± {np.std(values):5.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--env", default="CartPole-v1", metavar="ID", help="an environment whose observations are no images"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=9_000, help="env steps of a run in rounds; 0 leaves them out")
    parser.add_argument("--temperatures", type=float, nargs="*", default=[0.0, 0.5, 1.0, 2.0, 4.0], metavar="T")
    parser.add_argument("--generations", type=int, default=40, help="generations at each temperature")
    parser.add_argument("--model-updates", type=int, default=WorldModelsConfig.model_updates, help="in each round")
    parser.add_argument("--episodes", type=int, default=100, help="episodes of each score")
    parser.add_argument("--out", type=Path, default=Path("runs/reference"))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"env": options.env, "steps": options.steps, "solving": []}
    for seed in range(options.seeds if options.steps else 0):
        run = solved(options, seed)
        result["solving"].append(run)
        print(
            f"{options.env}, seed {seed}, {options.steps:,} env steps: inside {run['inside']:.1f}  "
            f"outside {run['outside']:.1f}  {run['seconds']:.0f} s",
            file=sys.stderr if options.json else sys.stdout,
            flush=True,
        )
    tried = [by_temperature(options, seed) for seed in range(options.seeds if options.temperatures else 0)]
    result["temperatures"] = {
        str(temperature): {name: [run[temperature][name] for run in tried] for name in MEASURED}
        for temperature in options.temperatures
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "world-models.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8", newline="\n")
    if options.json:
        print(json.dumps(result))
    elif tried:
        print_temperatures(result["temperatures"])


def print_temperatures(found: dict[str, dict[str, list[float]]]) -> None:
    """A table of the scores at each temperature."""
    print("a model of random play; mean returns ± standard deviation over seeds")
    print("temperature      inside        inside at 1        outside")
    for temperature, scored in found.items():
        print(f"{float(temperature):11g}  " + "  ".join(spread(scored[name]) for name in MEASURED))


if __name__ == "__main__":
    main()
