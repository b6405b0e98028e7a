"""Evaluation: whole episodes of a fixed policy, each with its own seed, so that N changes neither mean nor bias."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.base import Actor, Agent, ConfiguredAgent, EpsilonGreedyAgent
from gymnast.atari import protocols
from gymnast.atari.protocols import Protocol
from gymnast.envs.dreams.adapter import DreamEnv
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvWarning
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.rows.spawned import leave_if_imported
from gymnast.envs.step import Step
from gymnast.evaluation.environment import limited, make_env
from gymnast.evaluation.result import Evaluation
from gymnast.output.video import VideoWriter

LOOK_EVERY = 32
"""Steps of an evaluation on the device between two checks of whether it has ended."""


def evaluate(
    agent: Agent,
    env: Env | str | Callable[[], gym.Env[Any, Any]],
    *,
    episodes: int = 100,
    num_envs: int = 8,
    seed: int = 0,
    name: str | None = None,
    protocol: str | None = None,
    trained_frame_skip: int | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Play whole episodes with the agent's greedy policy; neither the agent nor torch's generator is changed.

    `env` is an id, a function that builds a `gym.Env`, or an environment made by
    `gymnast.evaluation.environment.make_env` or `gymnast.envs.make`, which stays open. Episodes are cut off after
    10,000 steps if the environment has no time limit, which a warning reports. `name` is the agent's name in the
    report. `protocol` scores an Atari agent as that protocol does, with its evaluation epsilon; `trained_frame_skip` is
    the frame skip of the training if it was different. Raises ValueError if `episodes` is not positive or agent and
    environment do not match the protocol, and KeyboardInterrupt once `interrupted()` is true.
    """
    leave_if_imported()
    if episodes < 1:
        raise ValueError(f"episodes must be >= 1, got {episodes}")
    made = env if isinstance(env, Env) else make_env(env, min(num_envs, episodes), protocol=protocol)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), limited(made):
            actor = greedy_actor(agent, made, seed=seed, protocol=protocol)
            returns, lengths = _play(actor, made, episodes, seed, interrupted)
            _say_cut(made, lengths)
        played = _played(agent, made, protocol)
    finally:
        if made is not env:
            made.close()
    frame_skip, called = trained_frame_skip or made.frame_skip, name or type(agent).__name__
    return Evaluation(made.id, called, seed, agent.env_step, tuple(returns), tuple(lengths), played, frame_skip)


def _say_cut(env: Env, lengths: Sequence[int]) -> None:
    """Warn if episodes ended only because of the evaluation's limit, which the environment does not have."""
    cut = sum(env.step_limit is not None and length >= env.step_limit for length in lengths)
    if cut:
        text = f"{cut} of {len(lengths)} evaluation episodes were cut off after {env.step_limit:,} steps"
        limit = "(--max-episode-steps sets another limit)"
        warnings.warn(f"{env.id} has no time limit: {text} {limit}", EnvWarning, stacklevel=3)


def greedy_actor(agent: Agent, env: Env, *, seed: int, protocol: str | None = None) -> Actor:
    """An actor for an evaluation, with a protocol's epsilon; ValueError if agent or environment do not match it."""
    named = None if protocol is None else protocols.check(protocol)
    if named is not None:
        _check_fit(agent, env, named)
    epsilon = None if named is None else named.eval_epsilon
    if epsilon is not None and isinstance(agent, EpsilonGreedyAgent):
        return agent.epsilon_greedy(env.num_envs, epsilon=epsilon, seed=np.random.SeedSequence(seed))
    if epsilon:
        raise ValueError(
            f"protocol {protocol} needs an agent with an evaluation epsilon; {type(agent).__name__} has none"
        )
    return agent.actor(env.num_envs, explore=False, seed=np.random.SeedSequence(seed))


def _check_fit(agent: Agent, env: Env, protocol: Protocol) -> None:
    found = protocols.of(env, None)
    for name in protocols.PLAYED:
        if found is None or getattr(found, name) != getattr(protocol, name):
            what = "it is not an Atari game" if found is None else f"{name} is {getattr(found, name)}"
            raise ValueError(f"{env.id} was not made with the protocol {protocol.label}: {what}")
    for kind, theirs, ours in (
        ("actions", env.single_action_space, agent.action_space),
        ("observations", env.single_observation_space, agent.observation_space),
    ):
        if theirs != ours:
            raise ValueError(f"protocol {protocol.label} plays {env.id} with {kind} {theirs}, but the agent has {ours}")


def _played(agent: Agent, env: Env, protocol: str | None) -> Protocol | None:
    """The protocol actually used, under the requested name."""
    epsilon = None
    if protocol is not None and isinstance(agent, EpsilonGreedyAgent):
        epsilon = protocols.check(protocol).eval_epsilon
    config = agent.config if isinstance(agent, ConfiguredAgent) else None
    found = protocols.of(env, config, eval_epsilon=epsilon)
    return found if found is None or protocol is None else dataclasses.replace(found, name=protocol)


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """The seeds of the episodes: a short evaluation has the first seeds of a longer one."""
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(episodes)]


class Endless:
    """Watches for episodes that reach a limit that cannot be set in a vector environment."""

    def __init__(self, rows: int, limit: int) -> None:
        self.limit = limit
        self.running = np.zeros((2, rows))  # return and length of each row's episode in progress

    def cut(self, step: Step) -> dict[int, tuple[float, int]]:
        """Returns and lengths of the episodes at the limit, by row; if there are any, all rows must be reset."""
        self.running[0] += step.reward.cpu().numpy()
        self.running[1] += 1.0 if step.active is None else step.active.cpu().numpy()
        self.running[:, step.ended.cpu().numpy()] = 0.0
        rows = np.flatnonzero(self.running[1] >= self.limit).tolist()
        found = {row: (float(self.running[0, row]), int(self.running[1, row])) for row in rows}
        if found:
            self.running[:] = 0.0
        return found


def _play(
    actor: Actor, env: Env, episodes: int, seed: int, interrupted: Callable[[], bool]
) -> tuple[list[float], list[int]]:
    """Returns and lengths by episode number.

    If episodes cannot be seeded, each row plays its share, fixed beforehand: taking the first to end would favour short
    ones. A vector environment cannot reset single rows: if an episode reaches the limit, it counts as it is, and
    all rows begin new ones.
    """
    if isinstance(env, NativeEnv | DreamEnv):
        return _play_on_device(actor, env, episodes, seed, interrupted)
    if env.seeds_episodes:
        env.reset(episode_seeds=episode_seeds(seed, episodes))
    else:
        env.reset()
    numbers = list(range(env.num_envs))  # row r plays the episodes r, r + N, … if they are not seeded
    results: dict[int, tuple[float, int]] = {}
    endless = None if env.seeds_episodes or env.step_limit is None else Endless(env.num_envs, env.step_limit)
    obs, start, mask = env.obs, env.start, env.action_mask
    while len(results) < episodes:
        if interrupted():
            raise KeyboardInterrupt
        step = env.step(actor.act(obs, start, mask).action)
        obs, start, mask = step.obs, step.start, step.action_mask
        if endless is not None and (cut := endless.cut(step)):
            for row, result in cut.items():
                results[numbers[row]] = result
                numbers[row] += env.num_envs
            env.reset()
            obs, start, mask = env.obs, env.start, env.action_mask
            continue
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


def _play_on_device(
    actor: Actor, env: NativeEnv | DreamEnv, episodes: int, seed: int, interrupted: Callable[[], bool]
) -> tuple[list[float], list[int]]:
    """Like `_play`, but checks only every `LOOK_EVERY` steps whether all episodes on the device have ended."""
    if isinstance(env, DreamEnv):
        env.reset(seed=seed)
    else:
        env.reset(episode_seeds=episode_seeds(seed, episodes))
    results = torch.zeros((2, episodes + 1), dtype=torch.float64, device=env.device)  # last: all other episodes
    results[1, :episodes] = -1.0
    obs, start, mask = env.obs, env.start, env.action_mask
    while bool((results[1] < 0.0).any()):
        if interrupted():
            raise KeyboardInterrupt
        for _ in range(LOOK_EVERY):
            number = env.numbers
            step = env.step(actor.act(obs, start, mask).action)
            obs, start, mask = step.obs, step.start, step.action_mask
            if step.episode_return is None or step.episode_length is None:
                continue
            place = torch.where(step.ended, number.clamp(max=episodes), episodes)
            results[0].scatter_(0, place, step.episode_return)
            results[1].scatter_(0, place, step.episode_length.double())
    returns, lengths = results[:, :episodes].tolist()
    return returns, [int(length) for length in lengths]


def record(agent: Agent, env: Env, path: Path, *, seed: int, protocol: str | None = None) -> float:
    """Play the first episode of the evaluation with this seed into an mp4 file; returns its return.

    `env` has one row and was made with `render=True`. Raises OSError if the file cannot be written.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad(), VideoWriter(path, env.render_fps) as video:
        actor = greedy_actor(agent, env, seed=seed, protocol=protocol)
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
