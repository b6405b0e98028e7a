"""An exported policy compared with its agent on observations of the environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Agent
from gymnast.agents.prediction import predicting_actor
from gymnast.agents.random_actor import RandomActor
from gymnast.envs.env import Env
from gymnast.envs.step import Obs
from gymnast.errors import RunError
from gymnast.evaluation.play import episode_seeds
from gymnast.export.formats import Run
from gymnast.export.module import MASK, MEMORY, SEED, START, PolicyModule

ROWS = 4
"""Rows of the environment: the batch. Row 0 is computed alone too."""
RANDOM = 0.25
"""Share of the steps that are random, so that a greedy policy leaves its own few states."""


@dataclass
class Parity:
    """How the actions of the policy and of the agent compare."""

    observations: int = 0
    """Compared in batches of `ROWS`."""
    alone: int = 0
    """Those that were compared one at a time too."""
    equal: int = 0
    """Comparisons in which all numbers of the action are within the tolerance, equal for choices."""
    ties: int = 0
    """Those for which the agent prefers both actions alike, within the tolerance."""
    action: float = 0.0
    """Greatest difference of actions that are real numbers."""
    preference: float = 0.0
    """Greatest difference of action values, logits or means."""

    @property
    def comparisons(self) -> int:
        """All of them."""
        return self.observations + self.alone

    def as_json(self) -> dict[str, Any]:
        return {
            "observations": self.observations,
            "comparisons": self.comparisons,
            "equal_actions": self.equal,
            "ties": self.ties,
            "greatest_difference": max(self.action, self.preference),
        }

    def as_text(self) -> str:
        ties = f" and {self.ties} ties" if self.ties else ""
        return (
            f"{self.equal:,} of {self.comparisons:,} actions equal{ties}, greatest difference "
            f"{max(self.action, self.preference):.2g} ({self.observations:,} observations in batches of {ROWS}, "
            f"{self.alone:,} of them alone too)"
        )

    def check(self, tolerance: float) -> None:
        """RunError if the policy does not act like the agent."""
        apart = max(self.action, self.preference)
        if self.equal + self.ties < self.comparisons or not apart <= tolerance:
            raise RunError(f"the exported policy differs from the agent: {self.as_text()} (tolerance {tolerance:g})")


@dataclass(frozen=True)
class Seen:
    """N observations, as the agent met them."""

    obs: Obs
    start: Tensor
    mask: Tensor | None

    def row(self, index: int) -> Seen:
        """One of them alone."""
        one = slice(index, index + 1)
        return Seen(_rows(self.obs, one), self.start[one], None if self.mask is None else self.mask[one])


def played(agent: Agent, env: Env, observations: int, seed: int) -> Iterator[Seen]:
    """Observations of episodes that the agent plays greedily, with some random actions."""
    rng = np.random.default_rng(seed)
    greedy = predicting_actor(agent, env.num_envs)
    wild = RandomActor(env.single_action_space, env.num_envs, seed=np.random.SeedSequence(seed))
    env.reset(episode_seeds=episode_seeds(seed, observations) if env.seeds_episodes else None)
    seen = Seen(env.obs, env.start, env.action_mask)
    for _ in range(-(-observations // env.num_envs)):
        yield seen
        acted = greedy.act(seen.obs, seen.start, seen.mask).action
        if rng.random() < RANDOM:
            acted = wild.act(seen.obs, seen.start, seen.mask).action
        step = env.step(acted)
        seen = Seen(step.obs, step.start, step.action_mask)


class Stream:
    """The agent, its module, and the exported policy, side by side on the observations of the same rows."""

    def __init__(self, agent: Agent, module: PolicyModule, run: Run, rows: int) -> None:
        self.actor, self.module, self.run = predicting_actor(agent, rows), module, run
        self.counts_as_alone = rows == 1
        self.seeds = np.random.default_rng(0)
        self.memory = [np.zeros((rows, module.memory_size), np.float32) for _ in range(2)]

    @torch.no_grad()
    def compare(self, seen: Seen, found: Parity, tolerance: float) -> None:
        """Add one step of all rows to a comparison."""
        wanted = self.actor.act(seen.obs, seen.start, seen.mask).action.cpu().numpy()
        arrays = self.module.arrays(seen.obs)
        if self.module.masked:
            assert seen.mask is not None
            arrays[MASK] = seen.mask.numpy()
        if self.module.memory_size:
            arrays[START] = seen.start.numpy()
        if self.module.greedy.draws:
            arrays[SEED] = self.seeds.integers(1 << 63, size=len(seen.start))
        ours, reference = (self._outputs(run, arrays, index) for index, run in enumerate((self.run, self._eager)))
        if self.module.greedy.draws:  # the agent draws by its own generator
            wanted = reference["action"]
        choice = wanted.dtype.kind in "iu"
        apart = _apart(ours["preference"], reference["preference"], _largest(reference["preference"]))
        difference = _apart(ours["action"], wanted, np.abs(wanted))  # [N], 0 for equal choices
        equal = difference == 0.0 if choice else difference <= tolerance
        if self.counts_as_alone:
            found.alone += len(wanted)
        else:
            found.observations += len(wanted)
        found.equal += int(equal.sum())
        found.preference = max(found.preference, float(apart.max()))
        if not choice:
            found.action = max(found.action, float(difference.max()))
        elif wanted.ndim == 1:
            found.ties += int((~equal & _tied(reference["preference"], ours["action"], tolerance, self.first)).sum())

    @property
    def first(self) -> int:
        """The number of the first action of a Discrete space."""
        return int(getattr(self.module.outputs[0].space, "start", 0))

    def _outputs(self, run: Run, arrays: dict[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
        memory = {MEMORY: self.memory[index]} if self.module.memory_size else {}
        found = run({**arrays, **memory})
        self.memory[index] = found.get("next_memory", self.memory[index])
        return found

    def _eager(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = self.module(*(torch.from_numpy(arrays[port.name]) for port in self.module.inputs))
        return {port.name: value.numpy() for port, value in zip(self.module.outputs, made, strict=True)}


def compare(
    agent: Agent, env: Env, module: PolicyModule, run: Run, *, observations: int, tolerance: float, seed: int
) -> Parity:
    """Play, and compare every observation in a batch, and those of row 0 one at a time too."""
    found = Parity()
    every, alone = Stream(agent, module, run, env.num_envs), Stream(agent, module, run, 1)
    for seen in played(agent, env, observations, seed):
        every.compare(seen, found, tolerance)
        alone.compare(seen.row(0), found, tolerance)
    return found


def _apart(ours: np.ndarray, theirs: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The greatest difference of each row, absolute, or relative to a size above 1: [N, ...] to float64 [N]."""
    one, other, scale = (np.asarray(values, np.float64).reshape(len(ours), -1) for values in (ours, theirs, size))
    same = one == other  # infinities too
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(one - other) / np.maximum(1.0, scale))
    greatest: np.ndarray = np.where(np.isnan(difference), np.inf, difference).max(1, initial=0.0)
    return greatest


def _largest(values: np.ndarray) -> np.ndarray:
    """The largest finite size of each row's numbers, [N, P] to [N, 1]: sums round in proportion to it."""
    sizes = np.abs(np.asarray(values, np.float64))
    largest: np.ndarray = np.where(np.isfinite(sizes), sizes, 0.0).max(1, keepdims=True, initial=0.0)
    return largest


def _tied(preference: np.ndarray, action: np.ndarray, tolerance: float, first: int) -> np.ndarray:
    """Whether chosen actions [N] are as good as the best ones within the tolerance, by preferences [N, A]."""
    index = np.clip(action - first, 0, preference.shape[1] - 1)
    chosen = np.take_along_axis(preference, index[:, None], 1)[:, 0]
    close = preference.max(1) - chosen <= 2 * tolerance * np.maximum(1.0, _largest(preference)[:, 0])
    return np.asarray(close & (index == action - first))


def _rows(obs: Obs, rows: slice) -> Obs:
    if isinstance(obs, dict):
        return {key: _rows(part, rows) for key, part in obs.items()}
    return obs[rows]
