"""What a world model replays of each step: an observation, and the action, reward and end that led to it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.envs.step import Obs, Step
from gymnast.replay.layout import Layout
from gymnast.replay.samplers import Uniform
from gymnast.replay.sequences import SequenceReplay, SequenceShape
from gymnast.replay.transitions import NStep


def build_replay(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    *,
    steps: int,
    period: int,
    size: int,
    num_envs: int,
    batch_size: int,
    seed: np.random.SeedSequence,
    memory_size: int = 0,
    path: str | None = None,
) -> SequenceReplay:
    """An empty replay of sequences of `steps` records, of which one begins at every `period`-th record.

    A final observation is a record too. The records are under `obs`, `action`, `reward` and `terminated` of a batch's
    observations; the batch's own rewards and discounts are those of single steps without discounting.

    Raises:
        ValueError: if it needs more memory or disk than is free, or its size is invalid.
    """
    scalar = spaces.Box(-np.inf, np.inf, (), np.float32)
    layout = Layout(
        spaces.Dict({"obs": observation_space, "action": action_space, "reward": scalar, "terminated": scalar})
    )
    return SequenceReplay(
        layout,
        Uniform(np.random.Generator(np.random.PCG64(seed))),
        NStep(1, 1.0),
        SequenceShape(0, steps - 1, period),
        size=size,
        num_envs=num_envs,
        batch_size=batch_size,
        memory_size=memory_size,
        path=path,
    )


class Records:
    """Adds the steps of N rows to a replay of records."""

    def __init__(self, action_space: gym.Space[Any], rows: int, *, device: torch.device) -> None:
        none = torch.zeros(rows, device=device), torch.zeros(rows, dtype=torch.bool, device=device)
        self.arrived: tuple[Tensor, Tensor, Tensor] = (no_action(action_space, rows, device=device), *none)
        """The action, reward and end before the next observation."""
        self._expected: tuple[Obs, dict[str, Any]] | None = None  # the last `step.obs`, and its record

    def add(
        self, replay: SequenceReplay, obs: Obs, acted: Acted, step: Step, *, memory: Tensor, reward: Tensor
    ) -> None:
        """Add a step, with the memory [N, M] before it, and its reward [N] for learning."""
        if self._expected is not None and obs is self._expected[0]:
            before = self._expected[1]
        else:  # the first step, or one after a resume
            before = _record(obs, *self.arrived)
        arrived = acted.action, reward, step.terminated
        after = _record(step.next_obs, *arrived)
        following = after if step.obs is step.next_obs else _record(step.obs, *arrived)
        replay.add(
            before,
            torch.zeros(len(memory), dtype=torch.int64),  # the action is part of the next record
            memory=memory,
            reward=reward,
            terminated=step.terminated,
            truncated=step.truncated,
            next_obs=after,
            following=following,
            active=step.active,
        )
        self.arrived, self._expected = arrived, (step.obs, following)

    def state(self) -> list[Tensor]:
        return [part.clone() for part in self.arrived]

    def load(self, state: list[Tensor]) -> None:
        action, reward, terminated = (part.to(self.arrived[0].device) for part in state)
        self.arrived, self._expected = (action, reward, terminated), None


def no_action(action_space: gym.Space[Any], rows: int, *, device: torch.device) -> Tensor:
    """Actions [N, ...] that stand for none, before an episode's first observation: models ignore them."""
    first = np.asarray(getattr(action_space, "start", 0))
    action = np.broadcast_to(first, (rows, *(action_space.shape or ()))).astype(action_space.dtype)
    return torch.from_numpy(action).to(device)


def _record(obs: Obs, action: Tensor, reward: Tensor, terminated: Tensor) -> dict[str, Any]:
    """An observation [N, ...] and the action, reward and end that led to it, ignored at an episode's start."""
    return {"obs": obs, "action": action, "reward": reward, "terminated": terminated.float()}
