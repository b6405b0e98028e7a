"""The agents' returns: every seed of the runs in RESULTS.md, by the command line's own functions.

python benchmarks/learning.py [cartpole] [taxi] [cliff] [frozenlake] [--seeds 5] [--steps N] [--json FILE]
python benchmarks/learning.py --all [--only NAME ...] [--seeds 5] [--steps N] [--out runs/learning] [--json FILE]

With `--all`, every row of `gymnast list references` is run for each seed, and the results are printed as a table. A
later call with the same folder continues where this one stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import learning_table
from learning_table import exact_return

from gymnast import TrainOptions, evaluate, load, train
from gymnast.agents.tabular.dynamic_programming import optimal_q
from gymnast.envs import make
from gymnast.errors import UsageError
from gymnast.settings import agents as names
from gymnast.settings import presets

SOLVED = 475.0
"""Mean return over 100 episodes from which CartPole-v1 counts as solved."""


def run(agent: str, env: str, preset: str, *, seed: int, out: str, steps: int | None) -> tuple[Any, float]:
    """One run of `gymnast train AGENT --env ENV --preset PRESET --seed SEED`, quietly; result and seconds."""
    values = presets.apply([preset], agent) | ({} if steps is None else {"steps": steps})
    fields = TrainOptions.__dataclass_fields__
    options = TrainOptions(env=env, seed=seed, out=out, video=False, **{k: v for k, v in values.items() if k in fields})
    config = names.config_class(names.agent_class(agent))(**{k: v for k, v in values.items() if k not in fields})
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        result = train(agent, options, config)
    return result, time.perf_counter() - began


def cartpole(seeds: int, out: str, *, steps: int | None) -> list[dict[str, Any]]:
    """DQN on CartPole-v1: env steps until a scheduled evaluation's mean of 100 episodes is >= 475; then fresh seeds."""
    rows = []
    for seed in range(seeds):
        result, seconds = run("dqn", "CartPole-v1", "cartpole", seed=seed, out=out, steps=steps)
        agent = load(result.path)
        fresh = [evaluate(agent, "CartPole-v1", episodes=100, seed=1_000 + k).mean_return for k in range(3)]
        row = {
            "seed": seed,
            "env_steps": result.env_step,
            "seconds": round(seconds, 1),
            "final": result.final.mean_return,
        }
        rows.append(
            {
                **row,
                "final": result.final.mean_return,
                "fresh": fresh,
                "solved": min(fresh) >= SOLVED and result.env_step <= 50_000,
            }
        )
        print(row, [round(value, 1) for value in fresh], flush=True)
    return rows


def tabular(
    env: str, preset: str, agents: list[str], *, seeds: int, out: str, steps: int | None
) -> list[dict[str, Any]]:
    """Greedy policies of tabular agents, by exact evaluation on the environment's table, compared with the optimum."""
    table = make(env).transition_table()
    assert table is not None
    rows = []
    for agent in agents:
        for seed in range(seeds):
            result, seconds = run(agent, env, preset, seed=seed, out=out, steps=steps)
            learner: Any = load(result.path)
            policy = learner.q_table().argmax(1)
            optimal = optimal_q(table, learner.config.gamma).argmax(1)
            learned, best = (exact_return(table, chosen) for chosen in (policy, optimal))
            row = {"agent": agent, "seed": seed, "env_steps": result.env_step, "seconds": round(seconds, 1)}
            rows.append({**row, "exact_return": learned, "optimal": best, "greedy": result.final.mean_return})
            print(rows[-1], flush=True)
    return rows


def references(arguments: argparse.Namespace) -> int:
    """Every reference for its seeds, and their table; 1 if one failed."""
    try:
        found = learning_table.run_all(
            arguments.only, seeds=arguments.seeds, out=Path(arguments.out or "runs/learning"), steps=arguments.steps
        )
    except UsageError as error:
        raise SystemExit(str(error)) from None
    print(learning_table.markdown(found))
    _write(arguments.json, found)
    return int(any("failed" in made for records in found.values() for made in records))


def _write(file: str | None, results: dict[str, Any]) -> None:
    if file:
        with open(file, "w", encoding="utf-8", newline="\n") as written:
            json.dump(results, written, indent=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="env steps of a run; the preset's by default")
    parser.add_argument("--all", action="store_true", help="run every reference instead of the parts")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="with --all: only these references")
    parser.add_argument("--out", metavar="DIR", help="with --all: folder of what is finished (runs/learning)")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.all and arguments.parts:
        parser.error(f"--all runs references, not parts: drop {arguments.parts[0]}, or --all")
    if arguments.all:
        raise SystemExit(references(arguments))
    if arguments.only or arguments.out:
        parser.error(f"--{'only' if arguments.only else 'out'} needs --all")
    control = ["q-learning", "expected-sarsa", "double-q-learning"]
    with tempfile.TemporaryDirectory() as out:
        table = partial(tabular, seeds=arguments.seeds, out=out, steps=arguments.steps)
        parts = {
            "cartpole": lambda: cartpole(arguments.seeds, out, steps=arguments.steps),
            "taxi": lambda: table("Taxi-v4", "taxi", control),
            "cliff": lambda: table("CliffWalking-v1", "cliffwalking", ["q-learning", "sarsa"]),
            "frozenlake": lambda: table("FrozenLake-v1", "frozenlake", control),
        }
        results = {}
        for name in arguments.parts or parts:
            print(f"== {name}", flush=True)
            results[name] = parts[name]()
    _write(arguments.json, results)


if __name__ == "__main__":
    main()
