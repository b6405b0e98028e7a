"""Evaluation: whole episodes of a fixed policy, each with its own seed, so that N changes neither mean nor bias."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.base import Actor, Agent
from gymnast.envs.atari import is_atari
from gymnast.envs.env import Env
from gymnast.envs.factory import make
from gymnast.envs.single import resolve
from gymnast.video import VideoWriter

STEP_LIMIT = 10_000
"""Time limit of an evaluation episode where the environment has none: a greedy policy may walk in circles for ever."""


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of the evaluation's episodes, in the order of their seeds."""

    env: str
    agent: str
    seed: int
    trained_env_steps: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def mean_return(self) -> float:
        return statistics.fmean(self.returns)

    @property
    def std_return(self) -> float:
        """Standard deviation over the episodes (of the population: divided by their number)."""
        return statistics.pstdev(self.returns)

    def as_json(self) -> dict[str, Any]:
        return {
            "env": self.env,
            "agent": self.agent,
            "seed": self.seed,
            "episodes": len(self.returns),
            "mean_return": self.mean_return,
            "std_return": self.std_return,
            "median_return": statistics.median(self.returns),
            "min_return": min(self.returns),
            "max_return": max(self.returns),
            "mean_length": statistics.fmean(self.lengths),
            "env_steps": sum(self.lengths),
            "trained_env_steps": self.trained_env_steps,
        }

    def as_text(self) -> str:
        values = self.as_json()
        return (
            f"{self.agent} on {self.env} after {self.trained_env_steps:,} env steps: mean return "
            f"{values['mean_return']:.2f} ± {values['std_return']:.2f} over {values['episodes']} episodes "
            f"(median {values['median_return']:.2f}, min {values['min_return']:.2f}, max {values['max_return']:.2f}, "
            f"mean length {values['mean_length']:.1f}, seed {self.seed})"
        )


def time_limit(env: str) -> int:
    """Env steps of an evaluation episode at most: the id's own limit, else `STEP_LIMIT`."""
    return resolve(env).max_episode_steps or STEP_LIMIT


def make_env(
    env: str | Callable[[], gym.Env[Any, Any]],
    num_envs: int,
    *,
    device: str = "cpu",
    options: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    render: bool = False,
) -> Env:
    """An environment for evaluation: one that seeds its episodes, and with a time limit where the id has none."""
    vectorization = "auto"
    if not isinstance(env, str):
        max_episode_steps = max_episode_steps or STEP_LIMIT
    elif not is_atari(env):
        max_episode_steps = max_episode_steps or time_limit(env)
        vectorization = "serial"  # an id's own vector entry point cannot seed single episodes
    return make(
        env,
        num_envs,
        device=device,
        vectorization=vectorization,
        options=options,
        max_episode_steps=max_episode_steps,
        render=render,
    )


def evaluate(
    agent: Agent,
    env: Env | str | Callable[[], gym.Env[Any, Any]],
    *,
    episodes: int = 100,
    num_envs: int = 8,
    seed: int = 0,
    name: str | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Play whole episodes with the agent's greedy policy; neither the agent nor torch's generator is changed.

    `env` is an id, a function that builds a `gym.Env`, or an environment made by `gymnast.evaluation.make_env`, which
    stays open. `name` is what the report calls the agent. Raises ValueError where `episodes` is not positive, and
    KeyboardInterrupt once `interrupted()` is true.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be >= 1, got {episodes}")
    made = env if isinstance(env, Env) else make_env(env, min(num_envs, episodes))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            actor = agent.actor(made.num_envs, explore=False, seed=np.random.SeedSequence(seed))
            returns, lengths = _play(actor, made, episodes, seed, interrupted)
    finally:
        if made is not env:
            made.close()
    return Evaluation(made.id, name or type(agent).__name__, seed, agent.env_step, tuple(returns), tuple(lengths))


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """The seeds of the episodes: those of a short evaluation are the first ones of a longer one."""
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(episodes)]


def _play(
    actor: Actor, env: Env, episodes: int, seed: int, interrupted: Callable[[], bool]
) -> tuple[list[float], list[int]]:
    """Returns and lengths by episode number.

    Where episodes cannot be seeded, each row plays its share, fixed beforehand: taking whichever end first would favour
    short ones.
    """
    if env.seeds_episodes:
        env.reset(episode_seeds=episode_seeds(seed, episodes))
    else:
        env.reset()
    numbers = list(range(env.num_envs))  # row r plays the episodes r, r + N, … where they are not seeded
    results: dict[int, tuple[float, int]] = {}
    obs, start, mask = env.obs, env.start, env.action_mask
    while len(results) < episodes:
        if interrupted():
            raise KeyboardInterrupt
        step = env.step(actor.act(obs, start, mask).action)
        obs, start, mask = step.obs, step.start, step.action_mask
        if step.num_ended == 0 or step.episode_return is None or step.episode_length is None:
            continue
        for row in step.ended.nonzero().flatten().tolist():
            if numbers[row] < episodes:
                results[numbers[row]] = (float(step.episode_return[row]), int(step.episode_length[row]))
            numbers[row] += env.num_envs
        if env.seeds_episodes:
            numbers = list(env.episode)
    ordered = [results[number] for number in range(episodes)]
    return [item[0] for item in ordered], [item[1] for item in ordered]


def record(agent: Agent, env: Env, path: Path, *, seed: int) -> float:
    """Play the first episode of the evaluation with this seed into an mp4 file; returns its return.

    `env` has one row and was made with `render=True`. Raises OSError where the file cannot be written.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad(), VideoWriter(path, env.render_fps) as video:
        actor = agent.actor(1, explore=False, seed=np.random.SeedSequence(seed))
        env.reset(episode_seeds=episode_seeds(seed, 1) if env.seeds_episodes else None)
        obs, start, mask = env.obs, env.start, env.action_mask
        video.add(env.render())
        while True:
            step = env.step(actor.act(obs, start, mask).action)
            obs, start, mask = step.obs, step.start, step.action_mask
            video.add(env.render())
            if step.num_ended:
                assert step.episode_return is not None
                return float(step.episode_return[0])
