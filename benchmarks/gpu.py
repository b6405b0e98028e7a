"""All checks that need a GPU, in one command: python benchmarks/gpu.py [NAME ...] [--device cuda]

    tests         the tests that need a GPU: captured updates equal eager ones, nothing waits for the device
    launches      benchmarks/gpu_launches.py: launches, waits and memory of recorded rollouts
    actor-critic  benchmarks/gpu_actor_critic.py: PPO and A2C, learning from a rollout and the whole loop
    cartpole      benchmarks/gpu_cartpole.py: seconds until PQN and PPO solve CartPole-v1
    population    benchmarks/gpu_population.py: 2,048 PPO agents at once
    atari         benchmarks/gpu_atari.py: the console equal to the CPU's, and frames per second
    envs          benchmarks/gpu_envs.py: steps per second of the environments themselves, in both forms
    minatar       benchmarks/gpu_minatar.py: PQN in the five games, one seed
    dreamer       benchmarks/gpu_dreamer.py: Dreamer's update, eager and recorded
    off-policy    benchmarks/gpu_off_policy.py: updates of SAC and its relatives, and Pendulum on the device
    learner       benchmarks/gpu_learner.py: an update, sampling and the whole loop
    update        microseconds of one eager DQN update: MLP (batch 128) and Nature CNN (batch 32)
    train         DQN end to end on CartPole-v1, with its networks and replay on the device
    replay        the ring on the device stores and samples the same as the ring on the CPU

Every check ends in a table; the figures go as JSON to $OUT, or to runs/gpu. One that fails or takes longer than
`--limit` seconds is reported and the next begins. `--device cpu` tries the checks themselves.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_actor_critic
import gpu_dreamer
import gpu_learner
import gpu_off_policy
import numpy as np
import torch
from gpu_fill import fill_by_steps
from gpu_report import finish, folder, where, write
from gymnasium import spaces

from gymnast.agents import DQN, DQNConfig
from gymnast.envs import make
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DeviceUniform
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Uniform
from gymnast.replay.transitions import NStep

ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)
VECTOR = spaces.Box(-np.inf, np.inf, (4,))


def update(device: torch.device) -> list[dict[str, Any]]:
    """Eager updates, sampling included; medians of 20 blocks, of three on a CPU."""
    rows = []
    updates, count = (50, 20) if device.type == "cuda" else (1, 3)
    for name, space, batch in (("MLP 120-84", VECTOR, 128), ("Nature CNN", ATARI, 32)):
        config = DQNConfig(batch_size=batch, replay_size=4_000, learning_starts=0)
        agent = DQN(space, spaces.Discrete(6), config, num_envs=8, device=device)
        fill_by_steps(agent, 200)
        blocks = []
        for block in range(count + 2):
            _wait(device)
            began = time.perf_counter()
            for _ in range(updates):
                agent.learn()
            _wait(device)
            if block >= 2:
                blocks.append(1e6 * (time.perf_counter() - began) / updates)
        figures = {"check": f"update, {name}, batch {batch}", "us_median": statistics.median(blocks)}
        rows.append({**figures, "us_lowest": min(blocks), "ok": bool(torch.isfinite(agent.weights.data).all())})
    return rows


def train(device: torch.device) -> list[dict[str, Any]]:
    """20,000 env steps of CartPole-v1 from 8 environments, and the greedy return afterwards."""
    steps = 20_000 if device.type == "cuda" else 4_000
    env = make("CartPole-v1", 8, device=str(device), seed=0, native=False)
    config = DQNConfig(
        batch_size=128, learning_rate=1e-3, train_period=4, target_period=250, epsilon="linear:1:0.05:5000"
    )
    agent = DQN(env.single_observation_space, env.single_action_space, config, num_envs=8, device=device)
    actor, obs = agent.actor(8, explore=True, seed=1), env.reset()
    metrics: dict[str, torch.Tensor] = {}
    began = time.perf_counter()
    while agent.env_step < steps:
        acted = actor.act(obs, env.start)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        for _ in range(agent.updates_due(agent.env_step)):
            metrics = agent.learn()
        obs = step.obs
    seconds = time.perf_counter() - began
    greedy, obs, returns = agent.actor(8, explore=False, seed=2), env.reset(), []
    while len(returns) < 20:
        step = env.step(greedy.act(obs, env.start).action)
        obs = step.obs
        if step.num_ended and step.episode_return is not None:
            returns += step.episode_return[step.ended].tolist()
    env.close()
    mean, finite = statistics.mean(returns), all(bool(value.isfinite()) for value in metrics.values())
    row = {"check": f"train, {steps:,} steps of CartPole-v1", "steps_per_second": steps / seconds}
    return [{**row, "greedy_return": mean, "ok": finite and (mean > 100 or device.type == "cpu")}]


def replay(device: torch.device) -> list[dict[str, Any]]:
    """Random episodes of 5 streams into both rings: the same slots are ready, and they give the same batches."""
    rows = []
    for stack, n in ((1, 1), (4, 1), (3, 3)):
        layout, sizes = (
            Layout(spaces.Box(0, 255, (stack, 8, 8), np.uint8), stack=stack),
            {"num_envs": 5, "batch_size": 64},
        )
        ours = DeviceRing(
            layout, DeviceUniform(torch.Generator(device)), NStep(n, 0.9), size=600, device=device, **sizes
        )
        reference = Ring(layout, Uniform(np.random.default_rng(0)), NStep(n, 0.9), size=600, **sizes)
        for arguments in _stream(stack, steps=400):
            reference.add(**arguments)
            ours.add(**{name: value.to(device) for name, value in arguments.items()})
        same = torch.equal(ours.ready[: ours.slots].cpu(), torch.from_numpy(reference.ready))
        batch = ours.sample()
        reference.sampler = _Given(batch.index.cpu().numpy())
        other = reference.sample()
        for name in ("obs", "action", "reward", "discount", "next_obs"):
            same = same and torch.allclose(getattr(batch, name).cpu().float(), getattr(other, name).float())
        same = same and bool(ours.ready[batch.index].all())
        rows.append({"check": f"replay, stack {stack}, {n}-step", "ready": int(reference.count), "ok": same})
    return rows


class _Given:
    """A sampler that repeats the draws of another one."""

    def __init__(self, index: np.ndarray) -> None:
        self.given = index

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        index[:] = self.given

    def update(self, index: torch.Tensor, error: torch.Tensor) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def _stream(stack: int, *, steps: int) -> list[dict[str, torch.Tensor]]:
    """Steps of 5 streams of random frames; `obs` of a step is `following` of the one before."""
    rng = np.random.default_rng(1)

    def frames(count: int) -> np.ndarray:
        return rng.integers(0, 256, (5, count, 8, 8), dtype=np.uint8)

    obs, made = frames(stack), []
    for number in range(steps):
        successor = np.concatenate([obs[:, 1:], frames(1)], 1)
        ends = rng.random((2, 5)) < 0.05
        following = np.where(ends.any(0)[:, None, None, None], frames(stack), successor)
        arrays = {
            "obs": obs,
            "action": np.full(5, number),
            "reward": rng.normal(size=5).astype(np.float32),
            "terminated": ends[0],
            "truncated": ends[1],
            "next_obs": successor,
            "following": following,
        }
        made.append({name: torch.from_numpy(array) for name, array in arrays.items()})
        obs = following
    return made


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def learner(device: torch.device) -> list[dict[str, Any]]:
    """The measurements of `gpu_learner.py`, small without a GPU."""
    bench = gpu_learner.Bench(device, small=device.type != "cuda")
    rows: list[dict[str, Any]] = []
    for measure in gpu_learner.MEASURES.values():
        rows += measure(bench)
        write("gpu_learner", rows, device)
    return rows


def off_policy(device: torch.device) -> list[dict[str, Any]]:
    """The measurements of `gpu_off_policy.py`, small without a GPU."""
    return gpu_off_policy.measure(gpu_learner.Bench(device, small=device.type != "cuda"))


def tests(device: torch.device) -> list[dict[str, Any]]:
    """`pytest -m gpu`; without a GPU every one is skipped."""
    root = Path(__file__).resolve().parent.parent
    names = (
        "update",
        "off_policy",
        "dreamer",
        "device_loop",
        "population_parts",
        "native_devices",
        "cuda_rows",
        "atari2600_device",
        "envs",
    )
    command = [sys.executable, "-m", "pytest", "-m", "gpu", *(f"tests/test_{name}.py" for name in names)]
    return [run_command("tests that need a GPU", command, cwd=root)]


def script(name: str, *arguments: str, most: float = 0.0) -> Callable[[torch.device], list[dict[str, Any]]]:
    """A benchmark that is a separate command; its table is printed, its figures are stored with the others.

    It may take `most` seconds, if that is more than others may.
    """

    def run(device: torch.device) -> list[dict[str, Any]]:
        file, json = Path(__file__).with_name(f"{name}.py"), folder() / f"{name}.json"
        command = [sys.executable, str(file), "--device", str(device), "--json", str(json)]
        return [run_command(name, [*command, *arguments], most=most)]

    return run


def run_command(check: str, command: list[str], *, cwd: Path | None = None, most: float = 0.0) -> dict[str, Any]:
    """A command as one row: its seconds and whether it went well and in time."""
    began = time.perf_counter()
    try:
        ok = subprocess.run(command, cwd=cwd, timeout=max(limit, most)).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"{check}: stopped after {max(limit, most):.0f} s", flush=True)
        ok = False
    return {"check": check, "seconds": time.perf_counter() - began, "ok": ok}


CHECKS: dict[str, Callable[[torch.device], list[dict[str, Any]]]] = {
    "tests": tests,
    "launches": script("gpu_launches"),
    "actor-critic": gpu_actor_critic.measure,
    "cartpole": script("gpu_cartpole", "--compile"),
    "population": script("gpu_population", "--compile"),
    "atari": script(
        *("gpu_atari", "--envs", "2048", "16384", "--seconds", "0.3", "--exact-envs", "16", "--exact-steps", "25"),
        most=300.0,
    ),
    "envs": script("gpu_envs", "--rounds", "1", "--envs", "16384", "131072", "--jobs", "8"),
    "minatar": script("gpu_minatar", "--agents", "pqn", "--seeds", "1", "--compile"),
    "dreamer": gpu_dreamer.measure,
    "off-policy": off_policy,
    "learner": learner,
    "update": update,
    "train": train,
    "replay": replay,
}
"""In order of importance: those that need a GPU first."""
BUDGET = 450.0
"""Seconds after which no further check begins."""
limit = 150.0
"""Seconds that a check in a separate process may take."""


def main() -> None:
    global limit
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CHECKS)}; all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--limit", type=float, default=limit, help="seconds that a check in a separate process may take"
    )
    arguments = parser.parse_args()
    limit = arguments.limit
    unknown = set(arguments.names) - set(CHECKS)
    if unknown:
        parser.error(f"unknown check {sorted(unknown)[0]!r}; there are {', '.join(CHECKS)}")
    device = torch.device(arguments.device)
    rows, began = [], time.perf_counter()
    for name in arguments.names or CHECKS:
        if time.perf_counter() - began > BUDGET:
            print(f"{name} is left out: {BUDGET:.0f} s have passed")
            continue
        print(f"{name} …", flush=True)
        try:
            rows += CHECKS[name](device)
        except Exception:  # one check that breaks shall not take the others along
            traceback.print_exc()
            rows.append({"check": name, "ok": False})
        write("gpu", rows, device)
    finish(rows, f"{where(device)}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
