"""What probes are fitted to: recorded steps with their true state, and the targets in them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Agent
from gymnast.agents.supervised.teacher import Teacher
from gymnast.envs.env import Env
from gymnast.envs.step import Obs, map_obs
from gymnast.fitting.probes import IGNORED
from gymnast.fitting.true_state import Reader, is_label

BATCH = 256
"""Observations that go through a network together."""


@dataclass(frozen=True)
class Recording:
    """N steps, all on the CPU."""

    obs: Obs
    """[N, ...] in the dtype of the environment, before the action."""
    action: Tensor
    """[N, ...]"""
    reward: Tensor
    """float32 [N], of the step."""
    episode: Tensor
    """int64 [N], the number of the episode."""
    state: dict[str, Tensor]
    """Variables [N, K] of the true state, at the observation."""


@dataclass(frozen=True)
class Target:
    """What a probe predicts."""

    name: str
    values: Tensor
    """float64 [N, O], or classes int64 [N], some of which may be `IGNORED`."""
    classes: int
    """Number of classes; 0 for numbers."""
    with_action: bool = False
    """Whether the probe also reads the action."""


Policy = Callable[[Obs, Tensor, "Tensor | None"], Tensor]
"""Actions [N, ...] for observations, rows that begin an episode, and allowed actions."""


def random_policy(space: gym.Space[Any], seed: int) -> Policy:
    """Uniformly drawn actions."""
    drawn = copy.deepcopy(space)  # its generator is not the environment's
    drawn.seed(seed)

    def act(_: Obs, start: Tensor, action_mask: Tensor | None) -> Tensor:
        masks = [None] * len(start) if action_mask is None else [_mask(drawn, row) for row in action_mask.cpu().numpy()]
        return torch.from_numpy(np.stack([np.asarray(drawn.sample(mask)) for mask in masks])).to(start.device)

    return act


def _mask(space: gym.Space[Any], allowed: np.ndarray) -> Any:
    """A row of allowed actions bool [A] in the form that `sample` takes."""
    if isinstance(space, spaces.MultiDiscrete):
        parts = np.split(allowed.astype(np.int8), np.cumsum(space.nvec)[:-1])
        return tuple(parts)
    return allowed.astype(np.int8)


def agent_policy(agent: Agent, env: Env, seed: np.random.SeedSequence) -> Policy:
    """The actions of an agent that explores as in training; ValueError if it is one of other spaces."""
    for kind, theirs, ours in (
        ("observations", agent.observation_space, env.single_observation_space),
        ("actions", agent.action_space, env.single_action_space),
    ):
        if theirs != ours:
            raise ValueError(f"the policy has {kind} {_line(theirs)}, and {env.id} {_line(ours)}")
    actor = agent.actor(env.num_envs, explore=True, seed=seed)
    return lambda obs, start, action_mask: actor.act(obs, start, action_mask).action


def _line(space: object) -> str:
    return " ".join(str(space).split())


@torch.no_grad()
def record(env: Env, policy: Policy, read: Reader | None, steps: int, *, seed: np.random.SeedSequence) -> Recording:
    """Play that many steps from new episodes on."""
    rounds = -(-steps // env.num_envs)
    env.reset(episode_seeds=[int(word) for word in seed.generate_state(steps + env.num_envs)])
    obs, start, mask = env.obs, env.start, env.action_mask
    kept: dict[str, list[Any]] = {name: [] for name in ("obs", "action", "reward", "episode")}
    states: dict[str, list[Tensor]] = {}
    for _ in range(rounds):
        for name, value in ({} if read is None else read()).items():
            states.setdefault(name, []).append(value)
        kept["episode"].append(torch.tensor(env.episode))
        kept["obs"].append(map_obs(torch.Tensor.cpu, obs))
        action = policy(obs, start, mask)
        step = env.step(action)
        kept["action"].append(action.cpu())
        kept["reward"].append(step.reward.cpu())
        obs, start, mask = step.obs, step.start, step.action_mask
    return Recording(
        obs=map_obs(lambda value: value[:steps], _joined(kept["obs"])),
        action=torch.cat(kept["action"])[:steps],
        reward=torch.cat(kept["reward"])[:steps],
        episode=torch.cat(kept["episode"])[:steps],
        state={name: torch.cat(values)[:steps] for name, values in states.items()},
    )


def _joined(parts: list[Any]) -> Obs:
    if isinstance(parts[0], dict):
        return {key: _joined([part[key] for part in parts]) for key in parts[0]}
    return torch.cat(parts)


class Targets:
    """The targets of a recording. Those that are constant are left out, with the reason in `left_out`."""

    def __init__(self) -> None:
        self.found: list[Target] = []
        self.left_out: dict[str, str] = {}

    def numbers(self, name: str, values: Tensor, *, with_action: bool = False) -> None:
        """Add numbers [N, K]."""
        values = values.double()
        changes = (values != values[0]).any(0)
        constant = int((~changes).sum())
        if constant:
            many = f"{constant} of its {len(changes)} values never change"
            self.left_out[name] = f"it is always {values[0, 0]:g}" if len(changes) == 1 else many
        if changes.any():
            self.found.append(Target(name, values[:, changes], 0, with_action))

    def labels(self, name: str, values: Tensor) -> None:
        """Add classes, integers [N]."""
        numbers, label, counts = torch.unique(values.long(), return_inverse=True, return_counts=True)
        common = counts > 1
        place = torch.where(common, common.cumsum(0) - 1, IGNORED)
        if not common.all():
            once = ", ".join(str(number) for number in numbers[~common].tolist())
            self.left_out[name] = f"its value {once} occurs once"
        if int(common.sum()) > 1:
            self.found.append(Target(name, place[label], int(common.sum())))
        else:
            only = numbers[common].tolist()
            self.left_out[name] = f"it is always {only[0]}" if only else "each of its values occurs once"

    def actions(self, name: str, values: Tensor, space: gym.Space[Any]) -> None:
        """Add actions [N, ...] of a space: classes, one target for each part of a vector of them, or numbers."""
        if isinstance(space, spaces.Box):
            self.numbers(name, values.reshape(len(values), -1))
            return
        flat = values.reshape(len(values), -1)
        for part in range(flat.shape[1]):
            self.labels(name if flat.shape[1] == 1 else f"{name}_{part}", flat[:, part])

    def states(self, env: Env, state: dict[str, Tensor]) -> None:
        """Add variables of the true state."""
        for name, values in state.items():
            if is_label(env, name, values):
                self.labels(name, values[:, 0])
            else:
                self.numbers(name, values)


def taught(teacher: Teacher, obs: Obs, count: int) -> Tensor:
    """The greedy actions [N, ...] of a teacher for N observations."""
    return torch.cat([teacher.actions(part) for part in in_batches(obs, count)])


def in_batches(obs: Obs, count: int) -> Iterator[Obs]:
    """N observations, `BATCH` at a time."""
    for at in range(0, count, BATCH):
        yield map_obs(itemgetter(slice(at, at + BATCH)), obs)


def chance(target: Target, train: Tensor, test: Tensor) -> float:
    """The accuracy on the test steps of the most frequent class of training; for numbers 0, the R2 of the mean."""
    if not target.classes:
        return 0.0
    label = target.values
    known = label[train][label[train] != IGNORED]
    counted = label[test][label[test] != IGNORED]
    return float((counted == known.mode().values).double().mean())
