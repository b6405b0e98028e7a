"""Try an environment: its spaces and rewards, whether it is repeatable and can be resumed, one line each."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError, EnvWarning
from gymnast.envs.factory import EnvLike, make
from gymnast.envs.rows import incoming, tensors
from gymnast.envs.rows.serial import SerialEnv
from gymnast.envs.step import Obs, Step, children, map_obs, tensor_dtype

Verdict = Literal["ok", "note", "fault"]
TIMED = 0.5
"""Seconds of stepping over which speed is measured."""
RESUMED = 50
"""Steps that are repeated after a snapshot."""


@dataclass(frozen=True)
class Finding:
    """One result: `ok`, a `note` that is good to know, or a `fault` that would spoil a run."""

    name: str
    verdict: Verdict
    text: str

    def __str__(self) -> str:
        return f"{self.verdict:<6}{self.name:<14}{self.text}"


@dataclass(frozen=True)
class Checked:
    """The findings of `check`, in order."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no faults."""
        return all(finding.verdict != "fault" for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings)


def check(
    env: EnvLike,
    *,
    steps: int = 500,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
) -> Checked:
    """Play random steps in an environment, and report its properties and any problems.

    `env` is as in `envs.make`: an id, a function that builds a `gym.Env`, or a `gym.vector.VectorEnv`, which is
    played as it is and left open. Errors of the environment are not raised: they are findings.
    """
    if isinstance(env, gym.vector.VectorEnv):
        return Checked(
            tuple(_Trial(lambda **_: make(env, env.num_envs, seed=seed), steps, seed, again=False).findings())
        )
    settings = {"seed": seed, "options": options, "max_episode_steps": max_episode_steps}
    return Checked(tuple(_Trial(partial(make, env, **settings), steps, seed).findings()))  # type: ignore[arg-type]


def why_not_restored(
    env: EnvLike, *, options: dict[str, Any] | None = None, max_episode_steps: int | None = None
) -> str | None:
    """Why replaying an environment does not restore it, by a short trial of two; None if it does.

    Also None if they cannot be built or stepped: the caller that needs them reports that better.
    """
    build = partial(make, env, vectorization="serial", options=options, max_episode_steps=max_episode_steps)
    trial = _Trial(build, RESUMED, 0)
    made: list[Env] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EnvWarning)  # the run repeats them
        try:
            made.append(build())
            first = made[0]
            if not isinstance(first, SerialEnv) or first.rows[0].method != "replay":
                return None
            made.append(build())
            for _ in range(2):  # the second time after at least one episode
                first.reset()
                list(trial._random(first, RESUMED))
            taken = first.snapshot()
        except (ValueError, EnvError):
            return None
        else:
            return _lost(trial, made[0], made[1], taken)
        finally:
            for each in made:
                each.close()


def _lost(trial: _Trial, first: Env, second: Env, taken: dict[str, Any]) -> str | None:
    """The loss from restoring the second environment from a snapshot of the first; None if nothing is lost."""
    try:
        second.restore(taken)
    except (ValueError, EnvError) as error:
        return _line(error)
    try:
        same = _same(list(trial._steps_of(first, RESUMED)), list(trial._steps_of(second, RESUMED)))
    except EnvError:
        return None
    return None if same else "a restored environment continues differently from the saved one"


@dataclass
class _Trial:
    """An environment on trial; each method tries one thing, and later ones need the results of earlier ones."""

    build: Callable[..., Env]
    steps: int
    seed: int
    again: bool = True
    """Whether it can be rebuilt and closed."""

    def findings(self) -> Iterator[Finding]:
        try:
            self.env = self.build()
        except ValueError as error:
            yield Finding("build", "fault", _line(error))
            return
        yield Finding("build", "ok", f"{self.env.id}, {self.env.num_envs} row{'s' * (self.env.num_envs > 1)}")
        yield from self._spaces()
        played = list(self._played())
        yield from played
        if all(finding.verdict != "fault" for finding in played):
            yield from self._masks()
            if self.again:
                yield from self._rebuilt()
        if self.again:
            yield self._closed(self.env)

    def _rebuilt(self) -> Iterator[Finding]:
        """Findings that need further environments of the same kind."""
        try:
            self.build().close()
        except ValueError as error:
            yield Finding("build", "fault", _line(error))
            return
        yield self._repeats()
        yield from self._across_episodes()
        yield self._resumes()
        yield self._renders()

    def _spaces(self) -> Iterator[Finding]:
        env = self.env
        yield Finding(
            "observations", "ok", f"{env.single_observation_space}, as {_tensors(env.single_observation_space)}"
        )
        yield Finding("actions", "ok", str(env.single_action_space))

    def _played(self) -> Iterator[Finding]:
        """Rewards, flags and observations over the steps, how episodes end, and the speed."""
        lengths: list[int] = []
        rewards: list[float] = []
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", EnvWarning)
            try:
                began = time.perf_counter()
                for step in self._stream(self.env, self.steps):
                    rewards += step.reward.tolist()
                    if step.episode_length is not None:
                        lengths += step.episode_length[step.ended].tolist()
                seconds = time.perf_counter() - began
            except EnvError as error:
                yield Finding("steps", "fault", _line(error))
                return
        yield from (
            Finding("bounds", "note", str(warning.message)) for warning in said if warning.category is EnvWarning
        )
        if not all(math.isfinite(reward) for reward in rewards):
            yield Finding("rewards", "fault", "some are infinite or not a number: no agent can learn from them")
        else:
            yield Finding("rewards", "ok", f"{min(rewards):g} to {max(rewards):g}")
        if lengths:
            yield Finding("episodes", "ok", f"{len(lengths)} ended, of {min(lengths)} to {max(lengths)} steps")
        else:
            text = f"none ended in {len(rewards)} random steps; evaluations stop after a limit (--max-episode-steps)"
            yield Finding("episodes", "note", text)
        yield Finding("speed", "ok", f"{len(rewards) / seconds:,.0f} steps/s of random actions")

    def _masks(self) -> Iterator[Finding]:
        mask = self.env.action_mask
        if mask is not None:
            yield Finding("masks", "ok", f"of {mask.shape[1]} choices, used for acting and for every bootstrap")

    def _repeats(self) -> Finding:
        first, second = self._recorded(self.build(), self.steps), self._recorded(self.build(), self.steps)
        if _same(first, second):
            return Finding("seeds", "ok", "the same seed and actions give the same episodes")
        return Finding("seeds", "note", "the same seed and actions give different episodes: runs cannot be repeated")

    def _across_episodes(self) -> Iterator[Finding]:
        """Whether an episode depends on earlier ones in ways that a seed does not reset."""
        env = self.build()
        if not env.seeds_episodes:
            return
        try:
            first = [_copied(env.reset(episode_seeds=[self.seed] * env.num_envs)), *self._steps_of(env, RESUMED)]
            list(self._steps_of(env, self.steps))
            again = [_copied(env.reset(episode_seeds=[self.seed] * env.num_envs)), *self._steps_of(env, RESUMED)]
        finally:
            env.close()
        if not _same(first, again):
            text = "some state persists across episodes, so a seeded episode depends on earlier ones"
            yield Finding("state", "note", text)
        else:
            yield Finding("state", "ok", "a seeded episode does not depend on earlier ones")

    def _resumes(self) -> Finding:
        if not self.env.exact_resume:
            return Finding(
                "resume", "note", "a resumed run starts new episodes: the state can be neither saved nor replayed"
            )
        env, other = self.build(), self.build()
        try:
            env.reset()
            list(self._steps_of(env, RESUMED))
            other.restore(env.snapshot())
            if not _same(list(self._steps_of(env, RESUMED)), list(self._steps_of(other, RESUMED))):
                return Finding(
                    "resume", "note", "a restored environment continues differently: resumed runs are not exact"
                )
        except (ValueError, EnvError) as error:
            return Finding("resume", "note", f"a resumed run starts new episodes: {_line(error)}")
        finally:
            env.close()
            other.close()
        how = self.env.rows[0].method if isinstance(self.env, SerialEnv) else "state"
        return Finding("resume", "ok", f"exact, by its {'state' if how == 'state' else 'seed and actions, replayed'}")

    def _renders(self) -> Finding:
        try:
            env = self.build(render=True)
        except ValueError as error:
            return Finding("render", "note", f"no video: {_line(error)}")
        try:
            env.reset()
            height, width, _ = env.render().shape
            return Finding("render", "ok", f"{width} x {height} pixels, {env.render_fps:g} frames/s")
        except (EnvError, ValueError) as error:
            return Finding("render", "note", f"no video: {_line(error)}")
        finally:
            env.close()

    def _closed(self, env: Env) -> Finding:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", EnvWarning)
            env.close()
        return Finding("close", "note", str(said[0].message)) if said else Finding("close", "ok", "closed")

    def _stream(self, env: Env, steps: int) -> Iterator[Step]:
        """Steps of random allowed actions, the same ones each time."""
        env.reset()
        yield from self._random(env, steps)

    def _random(self, env: Env, steps: int) -> Iterator[Step]:
        space, rng = env.single_action_space, np.random.Generator(np.random.PCG64(self.seed))
        space.seed(self.seed)
        for _ in range(math.ceil(steps / env.num_envs)):
            yield env.step(_actions(env, space, rng))

    def _steps_of(self, env: Env, steps: int) -> Iterator[Any]:
        for step in self._random(env, steps):
            seen = {"obs": _copied(step.obs), "next_obs": _copied(step.next_obs)}
            yield {**seen, "reward": step.reward, "terminated": step.terminated, "truncated": step.truncated}

    def _recorded(self, env: Env, steps: int) -> list[Any]:
        try:
            return [_copied(env.reset()), *self._steps_of(env, steps)]
        finally:
            env.close()


def _actions(env: Env, space: gym.Space[Any], rng: np.random.Generator) -> Tensor:
    """One random action in each row, among the allowed ones if there is a mask."""
    if env.action_mask is None or isinstance(space, spaces.Box):
        return torch.from_numpy(np.stack([np.asarray(space.sample()) for _ in range(env.num_envs)])).to(env.device)
    start = getattr(space, "start", 0)
    chosen: list[Any] = []
    for row in env.action_mask.cpu().numpy():
        parts = np.split(row, np.cumsum(incoming.mask_sizes(space))[:-1])
        if isinstance(space, spaces.MultiBinary):
            chosen.append(np.where(row, rng.integers(0, 2, len(row)), 0).reshape(space.shape))
        else:
            picks = [int(rng.choice(np.flatnonzero(part))) if part.any() else 0 for part in parts]
            chosen.append(np.reshape(picks, space.shape or ()) + start)
    return torch.from_numpy(np.stack(chosen)).to(env.device)


def _copied(obs: Obs) -> Obs:
    return map_obs(lambda tensor: tensor.clone(), obs)


def _same(left: list[Any], right: list[Any]) -> bool:
    """Whether two records of `_steps_of`, with or without a first observation, are equal bit for bit."""

    return len(left) == len(right) and all(tensors.equal(one, other) for one, other in zip(left, right, strict=True))


def _tensors(space: gym.Space[Any]) -> str:
    """The tensors that hold the observations."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return "{" + ", ".join(f"{name}: {_tensors(part)}" for name, _, part in children(space)) + "}"
    return f"{tensor_dtype(space).name} {list(space.shape or ())}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
