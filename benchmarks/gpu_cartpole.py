"""CartPole to the end on one device: python benchmarks/gpu_cartpole.py [--device cuda] [--seeds 0 1 …] [--json FILE]

    solve   seconds of training until a greedy mean of at least 475 over 100 episodes, by PQN and PPO with their presets
            on the device-native CartPole-v1; evaluations, every `--every` env steps, are not timed
    pace    seconds of 500,000 env steps of PQN with the settings of purejaxql (Gallici et al. 2024), and of purejaxql
            itself if `--purejaxql` names the folder of its repository; `--peer-python` has JAX, Flax, Optax, Gymnax

The extra time of the first rollouts over later ones is compiling and recording: it is listed separately, as
`compile_s`. On a GPU rollouts and updates are recorded as CUDA graphs; with `--compile` environment and updates are
compiled too. Published for purejaxql: 10.1 s for those 500,000 steps on two CPU cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gymnast.agents import PQN, PQNConfig
from gymnast.agents.optim.compiled import WARM_UP
from gymnast.envs import make
from gymnast.evaluation.environment import make_env
from gymnast.evaluation.play import evaluate
from gymnast.settings import agents, presets
from gymnast.training.loop import Loop

GAME, SOLVED, EPISODES = "gymnast/CartPole-v1", 475.0, 100
PUBLISHED = 10.1
"""Seconds of purejaxql's 500,000 env steps on two CPU cores."""
PACE_STEPS, PACE_ENVS = 500_000, 32
PACE = PQNConfig(
    rollout_steps=64,
    epochs=4,
    minibatches=16,
    td_lambda=0.95,
    learning_rate="linear:1e-4:0:500000",
    hidden_sizes=(256, 256),
    epsilon="linear:1:0.2:100000",
    reward_scale=0.1,
)
"""The settings of purejaxql's pqn_cartpole.yaml."""
Row = dict[str, Any]


class Timed:
    """An agent in its environment; how long its rollouts take, one by one."""

    def __init__(self, kind: type[Any], config: Any, num_envs: int, seed: int, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        how = {"compile": options.compile, "cuda_graphs": self.device.type == "cuda"}
        began = time.perf_counter()
        self.env = make(GAME, num_envs, device=options.device, seed=seed, compile=options.compile)
        spaces = self.env.single_observation_space, self.env.single_action_space
        changed = dataclasses.replace(config, **how)
        self.agent = kind(*spaces, changed, num_envs=num_envs, device=self.device, seed=seed)
        self.env.reset()
        self.loop = Loop(self.agent, self.agent.actor(num_envs, explore=True, seed=seed), self.env)
        self.rollout = num_envs * config.rollout_steps
        self.seconds = [time.perf_counter() - began]  # building first
        self.wait()

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def advance(self, until: int) -> None:
        """Whole rollouts until this many env steps are done."""
        while self.loop.env_step < until:
            began = time.perf_counter()
            self.loop.advance(self.loop.env_step + self.rollout, lambda: False)
            self.wait()
            self.seconds.append(time.perf_counter() - began)

    def result(self) -> Row:
        """Env steps, seconds of training, and those of compiling and recording (0 if the run is too short)."""
        first, later = self.seconds[: WARM_UP + 2], self.seconds[WARM_UP + 2 :]
        extra = max(0.0, sum(first) - statistics.median(later) * (len(first) - 1)) if later else 0.0
        return {"env_steps": self.loop.env_step, "train_s": sum(self.seconds) - extra, "compile_s": extra}


def solve(options: argparse.Namespace) -> list[Row]:
    """Each agent with each seed, until it is solved or its preset's steps are done."""
    rows = []
    for name in options.agents:
        values = presets.apply(["cartpole"], name)
        config = agents.default_config(name)
        fields = {field.name for field in dataclasses.fields(config)}
        config = dataclasses.replace(config, **{key: value for key, value in values.items() if key in fields})
        for seed in options.seeds:
            num_envs = options.envs or values["num_envs"]
            timed = Timed(agents.agent_class(name), config, num_envs, seed, options)
            judge, mean = make_env(GAME, EPISODES, device=options.device), 0.0
            while mean < SOLVED and timed.loop.env_step < (options.solve_steps or 2 * values["steps"]):
                timed.advance(timed.loop.env_step + options.every)
                mean = evaluate(timed.agent, judge, episodes=EPISODES, seed=10_000 + seed, name=name).mean_return
            row = {"check": f"solve, {name}", "seed": seed, "envs": num_envs, **timed.result()}
            rows.append({**row, "mean_return": mean, "ok": mean >= SOLVED})
            say(rows[-1])
        solved = [row["train_s"] for row in rows if row["check"] == f"solve, {name}" and row["ok"]]
        if solved:
            print(f"  {name}: solved {len(solved)} of {len(options.seeds)}, median {statistics.median(solved):.2f} s")
    return rows


def pace(options: argparse.Namespace) -> list[Row]:
    """Half a million env steps, ours and purejaxql's."""
    timed = Timed(PQN, PACE, PACE_ENVS, 0, options)
    timed.advance(options.pace_steps)
    row = {"check": "pace, pqn", "envs": PACE_ENVS, **timed.result()}
    seconds = row["train_s"] * PACE_STEPS / row["env_steps"]
    rows = [{**row, "seconds_of_500k": seconds, "ok": bool(timed.agent.weights.data.isfinite().all())}]
    say(rows[0])
    print(f"  to beat: {PUBLISHED} s for 500,000 env steps (purejaxql, two CPU cores): x{PUBLISHED / seconds:.2f}")
    if options.purejaxql is None:
        print("  purejaxql itself is left out; to include it, give the folder of its repository as --purejaxql")
        return rows
    command = [options.peer_python, "-c", PEER, str(options.purejaxql)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        print(f"  purejaxql failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
        return rows
    rows.append({"check": "pace, purejaxql", **json.loads(done.stdout.strip().splitlines()[-1]), "ok": True})
    say(rows[-1])
    return rows


PEER = """
import json, sys, time, types
from pathlib import Path

class Anything(types.ModuleType):
    def __getattr__(self, name):
        return lambda *args, **kwargs: (lambda function: function)

for name in ("hydra", "omegaconf", "wandb"):  # they configure and log, and need not be installed
    sys.modules[name] = Anything(name)
sys.path.insert(0, sys.argv[1])
import jax

jax.tree_map = getattr(jax, "tree_map", None) or jax.tree.map
from purejaxql.pqn_gymnax import make_train

def number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"True": True, "False": False}.get(text, text.strip('"'))

lines = (Path(sys.argv[1]) / "purejaxql/config/alg/pqn_cartpole.yaml").read_text().splitlines()
pairs = (line.split("#")[0].split(":", 1) for line in lines if ":" in line.split("#")[0])
config = {key.strip(): number(value.strip()) for key, value in pairs}
for name in ("TOTAL_TIMESTEPS", "TOTAL_TIMESTEPS_DECAY"):
    config[name] = int(config[name])
config |= {"TEST_DURING_TRAINING": False, "WANDB_MODE": "disabled"}
began = time.perf_counter()
train = jax.jit(jax.vmap(make_train(config)))
rngs = jax.random.split(jax.random.PRNGKey(0), 1)
train = train.lower(rngs).compile()
compiled = time.perf_counter()
jax.block_until_ready(train(rngs))
result = {"envs": config["NUM_ENVS"], "env_steps": config["TOTAL_TIMESTEPS"], "compile_s": compiled - began}
print(json.dumps({**result, "train_s": time.perf_counter() - compiled, "device": str(jax.devices()[0])}))
"""


def say(row: Row) -> None:
    """One row as one line."""
    shown = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
    print(f"  {', '.join(shown)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=("solve", "pace"), default=["solve", "pace"])
    parser.add_argument("--agents", nargs="+", choices=("pqn", "ppo"), default=["pqn", "ppo"])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--envs", type=int, help="environments of solve; by default the preset's")
    parser.add_argument("--every", type=int, default=5_000, help="env steps between two evaluations")
    parser.add_argument("--solve-steps", type=int, help="env steps after which solve gives up; twice the preset's")
    parser.add_argument("--pace-steps", type=int, default=PACE_STEPS, help="env steps of pace")
    parser.add_argument("--compile", action="store_true", help="compile environment and updates")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--purejaxql", type=Path, help="folder of purejaxql's repository")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that JAX is installed in")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [row for part in options.only for row in {"solve": solve, "pace": pace}[part](options)]
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    print(f"\n{device}, torch {torch.__version__}, {options.threads} threads")
    if options.json is not None:
        settings = {name: str(value) for name, value in vars(options).items()}
        report = {"device": device, "torch": torch.__version__, "options": settings, "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
