"""Planning with a learned model in the mazes of Sutton & Barto (2018), chapter 8: figures 8.2, 8.4 and 8.5.

    python benchmarks/dyna.py [--seeds N] [--episodes N] [--steps SHARE] [--out DIR] [--json]

Figure 8.2: steps of each episode in the fixed maze for Q-learning (0 planning steps), Dyna-Q with 5 and 50, and
prioritized sweeping with 5 backups. Figures 8.4 and 8.5: the sum of rewards over the steps in a maze that changes, for
Dyna-Q and Dyna-Q+ with 10 planning steps. Means over seeds, which all agents share.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gymnast.agents.tabular.base import TabularAgent
from gymnast.agents.tabular.dyna import DynaQ, DynaQConfig, PrioritizedSweeping, PrioritizedSweepingConfig
from gymnast.agents.tabular.learners import QLearning, QLearningConfig
from gymnast.envs import make
from gymnast.tabular import loop

ENV = "gymnast/DynaMaze-v0"
NEAR = 20
"""Steps of an episode that count as near the shortest path of 14: one step in ten is random."""
FIXED: dict[str, tuple[type[TabularAgent], Any]] = {
    "q-learning": (QLearning, QLearningConfig(alpha=0.1, gamma=0.95)),
    "dyna-q, 5": (DynaQ, DynaQConfig(alpha=0.1, gamma=0.95, planning_steps=5)),
    "dyna-q, 50": (DynaQ, DynaQConfig(alpha=0.1, gamma=0.95, planning_steps=50)),
    "prioritized sweeping, 5": (PrioritizedSweeping, PrioritizedSweepingConfig(gamma=0.95, planning_steps=5)),
}
CHANGING = {
    "dyna-q": DynaQConfig(alpha=1.0, gamma=0.95, planning_steps=10),
    "dyna-q+": DynaQConfig(alpha=1.0, gamma=0.95, planning_steps=10, time_bonus=1e-3),
}
MAZES = {"blocking": (1_000, 3_000), "shortcut": (3_000, 6_000)}
"""Steps before the maze changes, and all steps."""


def lengths(name: str, episodes: int, seed: int) -> np.ndarray:
    """Steps of each of the first episodes in the fixed maze, float64 [episodes]."""
    env = make(ENV, seed=seed, vectorization="serial")
    env.reset()
    cls, config = FIXED[name]
    agent = cls(env.single_observation_space, env.single_action_space, config, seed=seed)
    actor, found = agent.actor(1, explore=True, seed=seed), np.zeros(0)
    while len(found) < episodes:
        found = np.concatenate([found, loop.run(agent, actor, env, steps=1_000).lengths])
    return found[:episodes]


def rewards(name: str, maze: str, share: float, seed: int) -> np.ndarray:
    """Sum of rewards after each step in a maze that changes, float64 [steps]."""
    change, steps = (int(number * share) for number in MAZES[maze])
    env = make(ENV, seed=seed, vectorization="serial", options={"maze": maze, "change_after": change})
    env.reset()
    agent = DynaQ(env.single_observation_space, env.single_action_space, CHANGING[name], seed=seed)
    actor, found = agent.actor(1, explore=True, seed=seed), np.zeros(steps)
    obs, start = env.obs, env.start
    for number in range(steps):
        acted = actor.act(obs, start)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        agent.learn()
        found[number] = step.reward[0]
        obs, start = step.obs, step.start
    return found.cumsum()


def draw(path: Path, curves: dict[str, np.ndarray], *, labels: tuple[str, str], begin: int, top: float | None) -> None:
    """Means over seeds with twice their standard errors, and write them."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, rows in curves.items():
        at = np.arange(rows.shape[1]) + begin
        mean, error = rows.mean(0), 2 * rows.std(0) / np.sqrt(len(rows))
        axes.plot(at, mean, label=name)
        axes.fill_between(at, mean - error, mean + error, alpha=0.2, linewidth=0)
    axes.set_ylim(0, top)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--episodes", type=int, default=50, help="episodes in the fixed maze")
    parser.add_argument(
        "--steps", type=float, default=1.0, metavar="SHARE", help="share of the steps of figures 8.4, 8.5"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/reference"))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds, result = range(options.seeds), {"seeds": options.seeds, "fixed": {}}
    fixed = {name: np.stack([lengths(name, options.episodes, seed) for seed in seeds]) for name in FIXED}
    draw(options.out / "dyna-fixed.png", fixed, labels=("episode", "steps per episode"), begin=1, top=800)
    for name, rows in fixed.items():
        near = np.flatnonzero(rows.mean(0) <= NEAR)
        first = int(near[0]) + 1 if len(near) else None
        result["fixed"][name] = {"episodes_until_near": first, "last_10": round(float(rows[:, -10:].mean()), 1)}
    for maze, (change, _) in MAZES.items():
        curves = {name: np.stack([rewards(name, maze, options.steps, seed) for seed in seeds]) for name in CHANGING}
        draw(options.out / f"dyna-{maze}.png", curves, labels=("step", "sum of rewards"), begin=1, top=None)
        at = int(change * options.steps)
        result[maze] = {
            name: {"at_the_change": float(rows[:, at - 1].mean()), "at_the_end": float(rows[:, -1].mean())}
            for name, rows in curves.items()
        }
    (options.out / "dyna.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8", newline="\n")
    if options.json:
        print(json.dumps(result))
        return
    print(f"fixed maze, {options.seeds} seeds: episodes until {NEAR} steps or fewer, steps of the last 10 episodes")
    for name, row in result["fixed"].items():
        print(f"  {name:26s}{row['episodes_until_near'] or '-':>6}{row['last_10']:>10}")
    for maze in MAZES:
        print(f"{maze} maze: sum of rewards at the change and at the end")
        for name, row in result[maze].items():
            print(f"  {name:26s}{row['at_the_change']:>8.1f}{row['at_the_end']:>10.1f}")


if __name__ == "__main__":
    main()
