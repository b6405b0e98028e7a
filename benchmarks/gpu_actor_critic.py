"""The actor-critic learner on a GPU: python benchmarks/gpu_actor_critic.py [--device cuda] [--modes …]

    learn   updates per second, and microseconds of all learning from one rollout: PPO with an MLP and with the
            Nature CNN, A2C with an MLP; eager, compiled, captured, both. "compiled" is LeanRL's loop without its
            graphs: one compiled function for each minibatch
    loop    env steps per second of PPO on CartPole-v1 (64 environments), on the device-native one (4,096; recorded, no
            step leaves the device) and, if ale-py is installed, on ALE/Pong-v5 (8)

A row is ok if weights are finite and, for captured updates, if they equal those of the same updates without
a graph, to 1e-4, from the same seed and rollout; `off_eager` and `off_same` are their distances, in millionths, from
eager ones and from those of the same code. Every line is printed as soon as it is measured; lines that would begin
after `BUDGET` seconds are left out, and the figures go as JSON to $OUT, or to runs/gpu. Without a GPU all is small.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gpu_report import finish, line, where, write
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.base import Acted
from gymnast.agents.optim.compiled import WARM_UP
from gymnast.agents.table import A2C
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.training.loop import Loop

BUDGET = 85.0
NEAR = 1e-4
CHECKED = WARM_UP + 3  # a graph is recorded during the first calls; the last three replay it
MODES: dict[str, dict[str, bool]] = {
    "eager": {},
    "captured": {"cuda_graphs": True},
    "compiled": {"compile": True},
    "captured, compiled": {"compile": True, "cuda_graphs": True},
}
LABELS = {"compiled": "compiled (LeanRL without graphs)"}
SAME = {"captured": "eager", "captured, compiled": "compiled"}
"""The mode that runs the same code without a graph."""


@dataclass(frozen=True)
class Shape:
    """The rollout to learn from."""

    name: str
    space: spaces.Box
    actions: int
    envs: int
    config: dict[str, Any] = field(default_factory=dict)

    def agent(self, options: dict[str, bool], device: torch.device) -> ActorCritic:
        config = ActorCriticConfig(**self.config, **options)
        return ActorCritic(self.space, spaces.Discrete(self.actions), config, num_envs=self.envs, device=device)


VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)
STEADY = {"learning_rate": 3e-5}  # with larger steps a rounding error grows beyond `NEAR` in any mode
SHAPES = (
    Shape("PPO, MLP 64-64, 64 x 128", VECTOR, 2, 64),
    Shape("PPO, Nature CNN, 8 x 128", ATARI, 6, 8, STEADY),
    Shape("A2C, MLP 64-64, 16 x 5", VECTOR, 2, 16, A2C),
)
SMALL = (
    Shape("PPO, MLP 64-64, 8 x 32", VECTOR, 2, 8, {"rollout_steps": 32}),
    Shape("PPO, Nature CNN, 2 x 16", ATARI, 6, 2, {"rollout_steps": 16, **STEADY}),
    Shape("A2C, MLP 64-64, 16 x 5", VECTOR, 2, 16, A2C),
)


class Bench:
    """The device, and the time left."""

    def __init__(self, device: torch.device, modes: Sequence[str]) -> None:
        self.device, self.small, self.chosen = device, device.type != "cuda", modes
        self.began = time.perf_counter()
        self.rows: list[dict[str, Any]] = []

    def modes(self, *names: str) -> Iterator[str]:
        """The chosen ways to learn that the device supports and the time left allows."""
        for name in names or MODES:
            if name not in self.chosen or (self.small and MODES[name].get("cuda_graphs")):
                continue
            if time.perf_counter() - self.began > BUDGET:
                print(f"  {name} is left out: more than {BUDGET:.0f} s have gone")
                continue
            yield name

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def say(self, row: dict[str, Any]) -> None:
        print(f"  {line(row)}", flush=True)
        self.rows.append(row)
        write("gpu_actor_critic", self.rows, self.device)


def learn(bench: Bench) -> None:
    """Each shape in each mode: the check first, then the pace."""
    for shape in SMALL if bench.small else SHAPES:
        weights: dict[str, Tensor] = {}
        for mode in bench.modes():
            agent = shape.agent(MODES[mode], bench.device)
            fill(agent, shape.actions)
            began = time.perf_counter()
            with repeatable():
                for _ in range(CHECKED):
                    again(agent)
            bench.wait()
            first = time.perf_counter() - began
            weights[mode] = agent.weights.data.clone()
            off = {name: float((weights[mode] - weights[other]).abs().max()) for name, other in _beside(mode, weights)}
            ok = bool(weights[mode].isfinite().all()) and off.get("off_same", 0.0) <= NEAR
            if agent._captured is not None:
                agent._captured.forget()  # it was recorded with other kernels
            seconds = pace(agent, bench)
            row = {"check": f"{shape.name}: {LABELS.get(mode, mode)}", "learn_us": 1e6 * seconds}
            row["updates_per_second"] = agent.config.epochs * agent.config.minibatches / seconds
            bench.say({**row, "first_s": first, **{name: 1e6 * much for name, much in off.items()}, "ok": ok})


def _beside(mode: str, weights: dict[str, Tensor]) -> list[tuple[str, str]]:
    pairs = [("off_eager", "eager"), ("off_same", SAME.get(mode, mode))]
    return [(name, other) for name, other in pairs if other in weights and other != mode]


def fill(agent: ActorCritic, actions: int) -> None:
    """A rollout of random steps, the same for every agent of a shape; one in a hundred ends an episode."""
    rng, device, rows = np.random.default_rng(0), agent.device, agent.num_envs
    shape, dtype = agent.observation_space.shape or (), agent.observation_space.dtype

    def observation() -> Tensor:
        numbers = rng.integers(0, 256, (rows, *shape)) if dtype == np.uint8 else rng.normal(size=(rows, *shape))
        return torch.from_numpy(numbers.astype(dtype)).to(device)

    obs, truncated = observation(), torch.zeros(rows, dtype=torch.bool, device=device)
    log_prob = torch.full((rows,), -float(np.log(actions)), device=device)
    while not agent.rollout.full:
        following, ended = observation(), rng.random(rows) < 0.01
        action = torch.from_numpy(rng.integers(0, actions, rows)).to(device)
        reward, value = (torch.from_numpy(rng.normal(size=rows).astype(np.float32)).to(device) for _ in range(2))
        terminated = torch.from_numpy(ended).to(device)
        acted = Acted(action, log_prob, value.unsqueeze(1), raw=action)
        numbers = {"num_active": rows, "num_ended": int(ended.sum())}
        agent.store(obs, acted, Step(following, terminated, following, reward, terminated, truncated, **numbers))
        obs = following


def again(agent: ActorCritic) -> None:
    """Learn from the rollout, as if it had been refilled."""
    agent.rollout.length = agent.rollout.steps
    agent.learn()


@contextmanager
def repeatable() -> Iterator[None]:
    """Convolutions that give the same numbers each time."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def pace(agent: ActorCritic, bench: Bench) -> float:
    """Seconds of learning from a rollout, the median of blocks."""
    for _ in range(CHECKED):
        again(agent)
    bench.wait()
    spent, calls, seconds = list[float](), 1, 0.02 if bench.small else 0.2
    for _ in range(6):
        began = time.perf_counter()
        for _ in range(calls):
            again(agent)
        bench.wait()
        spent.append((time.perf_counter() - began) / calls)
        calls = min(max(int(seconds / spent[-1]), 1), 200)
    return statistics.median(spent[1:])


def loop(bench: Bench) -> None:
    """Whole steps: acting, emulation, storing and learning."""
    games = [
        ("gymnast/CartPole-v1", 16 if bench.small else 4096),
        ("CartPole-v1", 8 if bench.small else 64),
        ("ALE/Pong-v5", 2 if bench.small else 8),
    ]
    if importlib.util.find_spec("ale_py") is None:
        print("  Pong is left out: ale-py is not installed")
        del games[2]
    for game, envs in games:
        for mode in bench.modes("eager", "captured, compiled"):
            bench.say(_loop(game, envs, mode, bench))


def _loop(game: str, envs: int, mode: str, bench: Bench) -> dict[str, Any]:
    config = ActorCriticConfig(**MODES[mode], rollout_steps=8 if bench.small else 128)
    native = game.startswith("gymnast/")
    env = make(game, envs, device=str(bench.device), seed=0, native=native, compile=native and config.compile)
    agent = ActorCritic(
        env.single_observation_space, env.single_action_space, config, num_envs=envs, device=bench.device
    )
    env.reset()
    run = Loop(agent, agent.actor(envs, explore=True, seed=0), env)
    rollout = envs * config.rollout_steps
    before, steps = (WARM_UP + 2) * rollout, (2 if bench.small else 5) * rollout
    run.advance(before, lambda: False)
    bench.wait()
    began, spent = time.perf_counter(), dict(vars(run.seconds))
    run.advance(before + steps, lambda: False)
    bench.wait()
    seconds = time.perf_counter() - began
    env.close()
    row: dict[str, Any] = {"check": f"{game}, PPO, {envs} environments: {mode}", "steps_per_second": steps / seconds}
    for part in ("act", "env", "learn", "compiled"):
        row[f"{part}_us"] = 1e6 * (vars(run.seconds)[part] - spent[part]) / steps
    return {**row, "ok": bool(agent.weights.data.isfinite().all())}


def measure(device: torch.device, *, modes: Sequence[str] = tuple(MODES)) -> list[dict[str, Any]]:
    """All rows."""
    if device.type == "cpu":
        torch.set_num_threads(1)
    bench = Bench(device, modes)
    learn(bench)
    loop(bench)
    print(f"  {time.perf_counter() - bench.began:.0f} s")
    return bench.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=tuple(MODES), help="ways to learn")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rows = measure(device, modes=arguments.modes)
    finish(rows, f"{where(device)}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
