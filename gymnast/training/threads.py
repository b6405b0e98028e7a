"""The number of CPU threads for `--threads auto`: measured once for each machine, agent and network, and remembered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from gymnasium.vector.utils import batch_space

from gymnast.agents.base import Agent, GoalAgent, Planner
from gymnast.envs.env import Env
from gymnast.envs.step import Step, batched
from gymnast.machine import cache_folder, cores, limit_threads

GAIN = 1.05
"""How many times as fast an update must be with more threads: they also keep other programs waiting."""
UPDATES, SECONDS = 12, 5.0
"""Timed updates with each number of threads, and the time after which one with each is enough."""
CLEAR = 2.0
"""One update with each number tells enough if one takes so many times as long."""
WARM_UP = 2
"""Updates with each number of threads that are not timed."""
MOST_STEPS = 20_000
"""Vector steps of a trial at most; no update may be due for as long."""
TRIAL = {"learning_starts": 1_000, "replay_size": 10_000}
"""The greatest values of these fields of a config that a trial keeps: an update takes the same time."""


@dataclass(frozen=True)
class Choice:
    """The number of threads, and why."""

    threads: int
    note: str


def choose(name: str, config: Any, env: Env, build: Callable[[Any], Agent]) -> Choice:
    """The fastest number of threads for updates of this agent, with its networks, in this environment.

    `build` makes an untrained agent of a config for the environment's rows.
    """
    if env.device.type != "cpu":
        return Choice(1, f"threads auto is 1: {name} learns on {env.device}")
    counts = (1, cores())
    if counts[1] == 1:
        return Choice(1, "threads auto is 1: there is one core")
    file, key = cache_folder() / "threads.json", _key(name, config, env)
    known = _read(file)
    seconds = {int(count): value for count, value in known.get(key, {}).items()}
    remembered = set(seconds) == set(counts)
    if not remembered:
        agent = build(trial_config(config))
        if isinstance(agent, Planner):
            return Choice(1, f"threads auto is 1: {name} plans, and has no updates to measure")
        seconds = measure(agent, env, counts)
    if not seconds:
        return Choice(1, f"threads auto is 1: {name} made no update that could be measured")
    threads = counts[1] if seconds[counts[1]] * GAIN < seconds[1] else 1
    times = " and ".join(f"{1e3 * seconds[count]:.3g} ms with {count}" for count in counts)
    note = f"threads auto is {threads}: an update takes {times}"
    if remembered:
        return Choice(threads, f"{note} (measured before)")
    fault = _write(file, known | {key: seconds})
    return Choice(threads, note if fault is None else f"{note} (not remembered: {fault})")


def trial_config(config: Any) -> Any:
    """The config with a memory that is soon full enough to learn from."""
    small = {name: min(most, getattr(config, name)) for name, most in TRIAL.items() if hasattr(config, name)}
    if getattr(config, "replay_path", None) is not None:
        small["replay_path"] = None
    return dataclasses.replace(config, **small)


def measure(
    agent: Agent, env: Env, counts: Sequence[int], clock: Callable[[], float] = perf_counter
) -> dict[int, float]:
    """Median seconds of an update by number of threads, from random experience; empty without enough updates.

    The numbers take turns, so that the load of the machine affects each equally.
    """
    before = torch.get_num_threads()
    times: dict[int, list[float]] = {count: [] for count in counts}
    updates = env_step = 0
    store, began, least = _experience(agent, env), clock(), len(counts) * (WARM_UP + 1)
    try:
        for _ in range(MOST_STEPS):
            env_step += store()
            for _ in range(agent.updates_due(env_step)):
                count = counts[updates % len(counts)]
                limit_threads(count)
                at = clock()
                agent.learn()
                times[count].append(clock() - at)
                updates += 1
                if updates == len(counts) * WARM_UP:
                    began = clock()  # until now functions were compiled
                if updates < least:
                    continue
                found = _medians(times)
                enough = clock() - began > SECONDS or updates >= len(counts) * (UPDATES + WARM_UP)
                if enough or max(found.values()) > CLEAR * min(found.values()):
                    return found
    finally:
        limit_threads(before)
    return _medians(times)


def _medians(times: Mapping[int, Sequence[float]]) -> dict[int, float]:
    timed = {count: seconds[WARM_UP:] for count, seconds in times.items()}
    return {count: statistics.median(seconds) for count, seconds in timed.items()} if all(timed.values()) else {}


def _experience(agent: Agent, env: Env) -> Callable[[], int]:
    """A function that acts on random observations and stores a random step; returns the transitions.

    If the agent learns of other goals, rewards and ends are those of the goals.
    """
    rows, device = env.num_envs, env.device
    actor = agent.actor(rows, explore=True, seed=1)
    space = batch_space(env.single_observation_space, rows)
    space.seed(0)
    seen = [batched(env.single_observation_space, space.sample(), device) for _ in range(8)]
    rng = np.random.default_rng(0)
    goals = env.goal_rewards() if isinstance(agent, GoalAgent) and agent.needs_goal_rewards else None
    now, start, number = seen[0], torch.ones(rows, dtype=torch.bool), 0

    def store() -> int:
        nonlocal now, start, number
        number += 1
        acted, following = actor.act(now, start, None), seen[number % len(seen)]
        ended = torch.from_numpy(rng.random(rows) < 0.02)
        reward, terminated = torch.from_numpy(rng.normal(size=rows).astype(np.float32)), ended
        if goals is not None and isinstance(following, dict):
            reward, over = goals(following["achieved_goal"], following["desired_goal"])  # type: ignore[arg-type]
            terminated = ended if over is None else over
            ended = ended | terminated
        count, truncated = int(ended.sum()), ended & ~terminated
        agent.store(now, acted, Step(following, ended, following, reward, terminated, truncated, rows, count))
        now, start = following, ended
        return rows

    return store


def _key(name: str, config: Any, env: Env) -> str:
    """What the time of an update depends on; numbers such as rates, which it does not depend on, are left out."""
    sizes = {key: value for key, value in dataclasses.asdict(config).items() if not isinstance(value, float)}
    spaces = repr(env.single_observation_space), repr(env.single_action_space)
    parts = (_processor(), cores(), torch.__version__, name, *spaces, env.num_envs, repr(sizes))
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _read(file: Path) -> dict[str, dict[str, float]]:
    """What was measured before; a damaged file is the same as none, and is replaced."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        return {}


def _write(file: Path, known: Mapping[str, Any]) -> str | None:
    """Write the file whole; why not, if it cannot be."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8", newline="\n")
        os.replace(temporary, file)
    except OSError as error:
        return str(error)
    return None
