"""Cliff walking, example 6.6 of Sutton & Barto (2018): Q-learning learns the short path, SARSA the safe one.

    python benchmarks/cliff.py [--seeds N] [--episodes N] [--out DIR] [--json]

Part one is the example: epsilon 0.1, alpha 0.5, undiscounted, the sum of rewards during each of 500 episodes,
averaged over seeds. Part two continues with a falling step size and follows the greedy policies: -13 along the cliff
for Q-learning, -17 along the far edge for SARSA. SARSA's final policy depends on the step size: the best of all
policies that act at random one time in ten leaves one row between itself and the cliff (-15), and SARSA finds it too
if its steps become very small; the noise of larger steps keeps it a row further away, as in the book.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gymnast.agents.tabular.dynamic_programming import backup, evaluate_policy
from gymnast.agents.tabular.learners import QLearning, QLearningConfig, Sarsa, SarsaConfig
from gymnast.envs import make
from gymnast.tabular import loop, picture

ENV, EPSILON, ALPHA = "CliffWalking-v1", 0.1, 0.5
START, LIMIT = 36, 200
FALLING, LONG = "inverse:0.5:20000", 500_000
WINDOW = 10


def agent_of(name: str, env: Any, alpha: float | str, seed: int) -> QLearning | Sarsa:
    spaces = env.single_observation_space, env.single_action_space
    if name == "q-learning":
        return QLearning(*spaces, QLearningConfig(alpha=alpha, epsilon=EPSILON, gamma=1.0), seed=seed)
    return Sarsa(*spaces, SarsaConfig(alpha=alpha, epsilon=EPSILON, gamma=1.0), seed=seed)


def returns_while_learning(name: str, episodes: int, seed: int) -> np.ndarray:
    """Return of each of the first episodes, float64 [episodes]."""
    env = make(ENV, seed=seed, vectorization="serial")
    env.reset()
    agent = agent_of(name, env, ALPHA, seed)
    actor = agent.actor(1, explore=True, seed=seed)
    returns = np.zeros(0)
    while len(returns) < episodes:
        ended = loop.run(agent, actor, env, steps=10_000)
        returns = np.concatenate([returns, ended.returns])
    return returns[:episodes]


def greedy_after(name: str, seed: int) -> tuple[float, float, QLearning | Sarsa]:
    """Exact greedy return from the start, mean return of the last 1000 exploring episodes, and the agent."""
    env = make(ENV, seed=seed, vectorization="serial")
    env.reset()
    table = env.transition_table()
    assert table is not None
    agent = agent_of(name, env, FALLING, seed)
    ended = loop.run(agent, agent.actor(1, explore=True, seed=seed), env, steps=LONG)
    policy = agent.q_table().argmax(1)
    greedy = evaluate_policy(table, policy, gamma=1.0, horizon=LIMIT)[START]
    return float(greedy), float(ended.returns[-1000:].mean()), agent


def best_exploring_policy() -> float:
    """The greedy return of the best policy among those that act at random with probability epsilon."""
    table = make(ENV, vectorization="serial").transition_table()
    assert table is not None
    q = np.zeros((48, 4))
    for _ in range(20_000):
        q = backup(table, (1 - EPSILON) * q.max(1) + EPSILON * q.mean(1), 1.0)
    return float(evaluate_policy(table, q.argmax(1), gamma=1.0, horizon=LIMIT)[START])


def draw(path: Path, curves: dict[str, np.ndarray]) -> None:
    """Mean return of each episode (running mean over 10), with twice its standard error, both over seeds."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, colour in (("sarsa", "#1f77b4"), ("q-learning", "#d62728")):
        smooth = np.stack([np.convolve(row, np.ones(WINDOW) / WINDOW, "valid") for row in curves[name]])
        at = np.arange(smooth.shape[1]) + WINDOW
        mean, error = smooth.mean(0), 2 * smooth.std(0) / np.sqrt(len(smooth))
        axes.plot(at, mean, color=colour, label={"sarsa": "SARSA", "q-learning": "Q-learning"}[name])
        axes.fill_between(at, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    axes.set_ylim(-100, 0)
    axes.set_xlabel("episode")
    axes.set_ylabel("sum of rewards during the episode")
    axes.set_title(f"{ENV}, epsilon {EPSILON:g}, alpha {ALPHA:g}, {len(curves['sarsa'])} seeds")
    axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=200, help="seeds of the figure; a tenth of them for the greedy part"
    )
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/reference"))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = ("q-learning", "sarsa")
    seeds = range(options.seeds)
    curves = {name: np.stack([returns_while_learning(name, options.episodes, s) for s in seeds]) for name in names}
    draw(options.out / "cliff.png", curves)
    result: dict[str, Any] = {"env": ENV, "epsilon": EPSILON, "alpha": ALPHA, "seeds": options.seeds}
    for name in names:
        last = curves[name][:, -100:].mean(1)
        runs = [greedy_after(name, seed) for seed in range(max(options.seeds // 10, 1))]
        result[name] = {
            "return_while_exploring_last_100_episodes": round(float(last.mean()), 2),
            "standard_error": round(float(last.std() / np.sqrt(len(last))), 2),
            "alpha_of_the_greedy_part": FALLING,
            "greedy_returns": [greedy for greedy, _, _ in runs],
            "return_while_exploring_at_the_end": round(float(np.mean([exploring for _, exploring, _ in runs])), 2),
        }
        picture.draw(options.out / f"cliff-{name}.png", runs[0][2], make(ENV, vectorization="serial"))
    result["greedy_return_of_the_best_exploring_policy"] = best_exploring_policy()
    (options.out / "cliff.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(result))
        return
    for name in names:
        exploring, greedy = result[name]["return_while_exploring_last_100_episodes"], result[name]["greedy_returns"]
        print(f"{name:12s} while exploring {exploring:8.2f}   greedy {sorted(set(greedy))}")
    print(f"best exploring policy, greedy: {result['greedy_return_of_the_best_exploring_policy']:g}")


if __name__ == "__main__":
    main()
