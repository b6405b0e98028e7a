"""`gymnast record`: episodes of a trained agent, or of random actions, as a Minari data set."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from torch import Tensor

from gymnast.agents.base import Actor
from gymnast.agents.random_actor import RandomActor
from gymnast.envs.env import Env
from gymnast.envs.rows import single
from gymnast.envs.step import Step, map_obs
from gymnast.errors import RunError, UsageError, first_line
from gymnast.evaluation import play, trained
from gymnast.evaluation.trained import EnvSettings
from gymnast.machine import limit_threads, pick_device
from gymnast.output.panel import Panel, PanelState
from gymnast.replay.datasets.writer import DatasetWriter, check_new
from gymnast.settings.record_options import RANDOM, RecordOptions
from gymnast.storage import checkpoint, rebuild
from gymnast.training.interrupts import Interrupts
from gymnast.version import __version__

MOST_SEEDS = 2**20
"""Episodes that are seeded one by one if their number is not known; later ones follow from the seed of the row."""
WINDOW = 100
"""Episodes whose mean return the panel shows."""


@dataclass(frozen=True)
class Recorded:
    """A finished recording, or one that a signal stopped, which leaves nothing behind."""

    dataset: str
    env: str
    policy: str
    episodes: int
    steps: int
    nbytes: int
    returns: tuple[float, ...]
    """Of the episodes that ended."""
    exit_code: int = 0

    def as_text(self) -> str:
        if self.exit_code:
            return f"stopped: data set {self.dataset} was not written"
        played = f"mean return {statistics.fmean(self.returns):.2f}" if self.returns else "no episode ended"
        over = f" over {len(self.returns):,} episodes" if self.returns else ""
        return (
            f"{self.policy} on {self.env}: {played}{over}; data set {self.dataset}: {self.episodes:,} episodes, "
            f"{self.steps:,} steps, {self.nbytes / 1e6:,.1f} MB"
        )


@dataclass(frozen=True)
class _Source:
    """Who plays where."""

    actor: Actor
    env: Env
    settings: EnvSettings
    policy: str
    about: dict[str, Any]
    """Metadata."""


def record(options: RecordOptions) -> Recorded:
    """Record a data set in Minari's folder.

    UsageError in one line before anything starts, RunError if the disk fails.
    """
    limit_threads(options.threads)
    try:
        check_new(options.dataset)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(options.seed)  # of what draws without a generator of its own, such as noisy layers
            source = _source(options)
            try:
                with _writer(options, source.env) as writer:
                    return _Recording(options, source, writer).run()
            finally:
                source.env.close()
    except ValueError as error:
        raise UsageError(first_line(error)) from error
    except OSError as error:
        raise RunError(f"data set {options.dataset} cannot be written: {first_line(error)}") from error


def _writer(options: RecordOptions, env: Env) -> DatasetWriter:
    return DatasetWriter(
        options.dataset,
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        num_envs=env.num_envs,
        frame_stack=env.frame_stack,
    )


def _source(options: RecordOptions) -> _Source:
    """The agent of the run in its environment, or random actions."""
    device = pick_device(options.device)
    rows = min(options.num_envs, options.episodes or options.steps or 1)
    if options.policy == RANDOM:
        assert options.env is not None
        settings = _given(options, EnvSettings())
        env = _made(options, options.env, settings, device, rows)
        seed = np.random.SeedSequence(options.seed).spawn(1)[0]
        actor = RandomActor(env.single_action_space, rows, seed=seed)
        return _Source(actor, env, settings, RANDOM, {"algorithm_name": RANDOM})
    return _trained(options, device, rows)


def _trained(options: RecordOptions, device: str, rows: int) -> _Source:
    file = checkpoint.find(options.policy)
    about, state = checkpoint.read_agent(file)
    about = trained.outside(about)
    trained.check_trusted(about, file, trust=options.trust)
    agent = rebuild.build(about, rebuild.agent_class(about, trust=options.trust), device=device, trust=options.trust)
    rebuild.load_agent(agent, state, file)
    own = trained.settings_of(about, protocol=options.protocol)
    settings = _given(options, own if options.env in (None, about.env) else EnvSettings())
    try:
        env = _made(options, options.env or about.env, settings, device, rows)
    except ValueError as error:
        raise UsageError(trained.why(error, about)) from error
    try:
        for kind, theirs, ours in (
            ("observations", env.single_observation_space, agent.observation_space),
            ("actions", env.single_action_space, agent.action_space),
        ):
            if theirs != ours:
                raise UsageError(f"env {env.id} has {kind} {theirs}, but the agent of {options.policy} has {ours}")
        seed = np.random.SeedSequence(options.seed).spawn(1)[0]
        actor = (
            agent.actor(rows, explore=True, seed=seed)
            if options.explore
            else play.greedy_actor(agent, env, seed=options.seed, protocol=options.protocol)
        )
    except (ValueError, UsageError):
        env.close()
        raise
    known = {"gymnast_run": str(options.policy), "gymnast_agent_env_steps": about.env_step}
    return _Source(actor, env, settings, about.agent, {"algorithm_name": about.agent, **known})


def _given(options: RecordOptions, settings: EnvSettings) -> EnvSettings:
    """The settings with what the options say instead."""
    return EnvSettings(
        json.loads(options.env_options) if options.env_options else settings.options,
        options.wrapper or settings.wrappers,
        options.max_episode_steps or settings.max_episode_steps,
        options.frame_stack or settings.frame_stack,
    )


def _made(options: RecordOptions, env: str, settings: EnvSettings, device: str, rows: int) -> Env:
    return settings.make(env, rows, device=device, protocol=options.protocol, seed=options.seed)


class _Recording:
    """The loop: act, step, write, until there is enough."""

    def __init__(self, options: RecordOptions, source: _Source, writer: DatasetWriter) -> None:
        self.options, self.source, self.env, self.writer = options, source, source.env, writer
        self.added = 0  # transitions, those of episodes in progress included
        self.returns: list[float] = []
        self.lengths: list[int] = []
        wanted = options.episodes or min(options.steps or 0, MOST_SEEDS)
        self.seeds = play.episode_seeds(options.seed, wanted) if self.env.seeds_episodes else []
        self.numbers = list(range(self.env.num_envs))  # of the rows' episodes

    def run(self) -> Recorded:
        env, actor = self.env, self.source.actor
        with Interrupts() as interrupts, Panel(f"record {self.source.policy} on {env.id}") as panel:
            env.reset(episode_seeds=self.seeds or None)
            obs, start, mask = env.obs, env.start, env.action_mask
            while not self._enough():
                if interrupts.received is not None:
                    return self._result(interrupts.exit_code)
                action = actor.act(obs, start, mask).action
                step = env.step(action.to(env.device))
                self._add(obs, action, step)
                obs, start, mask = step.obs, step.start, step.action_mask
                if panel.due(perf_counter()):
                    panel.update(self._state())
            for row in range(env.num_envs):
                self.writer.cut(row)
        self.writer.finish(self._about())
        return self._result(0)

    def _enough(self) -> bool:
        if self.options.steps is not None:
            return self.added >= self.options.steps
        return self.writer.episodes >= (self.options.episodes or 0)

    def _add(self, obs: Any, action: Tensor, step: Step) -> None:
        """Write the step's transitions that count, and number the episodes that follow."""
        rows = self._rows(step)
        terminated, truncated = step.terminated.cpu(), step.truncated.cpu()
        if len(rows):
            self.writer.add(
                map_obs(Tensor.cpu, obs),
                action.cpu(),
                reward=step.reward.cpu(),
                terminated=terminated,
                truncated=truncated,
                next_obs=map_obs(Tensor.cpu, step.next_obs),
                rows=rows,
                seeds=[self.seeds[number] if number < len(self.seeds) else None for number in self.numbers],
            )
            self.added += len(rows)
        ended = terminated | truncated
        if not ended.any():
            return
        for row in rows[ended[rows]].tolist():
            assert step.episode_return is not None
            assert step.episode_length is not None
            self.returns.append(float(step.episode_return[row]))
            self.lengths.append(int(step.episode_length[row]))
        for row in ended.nonzero().flatten().tolist():
            self.numbers[row] += self.env.num_envs
        if self.seeds:
            self.numbers = self.env.episode

    def _rows(self, step: Step) -> Tensor:
        """The rows whose transition is recorded, int64 [n].

        Of a number of episodes these are the first by number, which are fixed beforehand: the first to end would be
        the short ones.
        """
        rows = torch.arange(self.env.num_envs) if step.active is None else step.active.cpu().nonzero().flatten()
        if self.options.steps is not None:
            return rows[: self.options.steps - self.added]
        limit = self.options.episodes or 0
        return rows[torch.tensor(self.numbers)[rows] < limit]

    def _state(self) -> PanelState:
        episodes = self.writer.episodes
        total = self.options.steps or math.ceil(self.added / max(episodes, 1) * (self.options.episodes or 1))
        shown, lengths = self.returns[-WINDOW:], self.lengths[-WINDOW:]
        return PanelState(self.added, max(total, self.added), episodes=episodes, returns=shown, lengths=lengths)

    def _result(self, exit_code: int) -> Recorded:
        writer = self.writer
        return Recorded(
            *(writer.name, self.env.id, self.source.policy, writer.episodes, writer.steps, writer.nbytes),
            returns=tuple(self.returns),
            exit_code=exit_code,
        )

    def _about(self) -> dict[str, Any]:
        """Further metadata: who played, in which environment, and how to make it again."""
        options, env = self.options, self.env
        how = "with exploration" if options.explore else "at random" if options.policy == RANDOM else "greedily"
        spec = env_spec(env, self.source.settings, self.writer.frame_space)
        settings = dataclasses.asdict(self.source.settings)
        return {
            "description": f"{self.source.policy} on {env.id}, played {how}, recorded by gymnast {__version__}",
            "gymnast_version": __version__,
            "gymnast_env": env.id,
            "gymnast_seed": options.seed,
            "gymnast_explore": options.explore,
            "gymnast_frame_skip": env.frame_skip,
            "gymnast_env_settings": {**settings, "protocol": options.protocol},
            **self.source.about,
            **({} if spec is None else {"env_spec": spec}),
        }


def env_spec(env: Env, settings: EnvSettings, frame_space: gym.Space[Any]) -> str | None:
    """The spec, as JSON, from which Minari recovers the environment; None if it would give other observations."""
    if settings.wrappers or not isinstance(spec := _registered(env.id), EnvSpec):
        return None
    kwargs = {**spec.kwargs, **settings.options}
    limit = settings.max_episode_steps or spec.max_episode_steps
    plain = dataclasses.replace(spec, kwargs=kwargs, max_episode_steps=limit, vector_entry_point=None)
    try:
        made = gym.make(plain)
        fits = made.observation_space == frame_space and made.action_space == env.single_action_space
        made.close()
        return plain.to_json() if fits else None
    except Exception:  # whatever an environment's own code raises: the data set is complete without it
        return None


def _registered(id: str) -> Any:
    try:
        return single.resolve(id)
    except ValueError:
        return None
