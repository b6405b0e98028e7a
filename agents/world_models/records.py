"""What a world model replays of each step: an observation, and the action, reward and end that led to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.agents.world_models.dreamer_replay import record
from gymnast.envs.step import Obs, Step
from gymnast.replay.sequences import SequenceReplay


class Records:
    """Adds the steps of N rows to a replay of records; `action` [N, ...] are any of the environment's."""

    def __init__(self, action: Tensor) -> None:
        rows, device = len(action), action.device
        none = torch.zeros(rows, device=device), torch.zeros(rows, dtype=torch.bool, device=device)
        self.arrived: tuple[Tensor, Tensor, Tensor] = (action, *none)
        """The action, reward and end before the next observation."""
        self._expected: tuple[Obs, dict[str, Any]] | None = None  # the last `step.obs`, and its record

    def add(
        self, replay: SequenceReplay, obs: Obs, acted: Acted, step: Step, *, memory: Tensor, reward: Tensor
    ) -> None:
        """Add a step, with the memory [N, M] before it, and its reward [N] for learning."""
        if self._expected is not None and obs is self._expected[0]:
            before = self._expected[1]
        else:  # the first step, or one after a resume
            before = record(obs, *self.arrived)
        arrived = acted.action, reward, step.terminated
        after = record(step.next_obs, *arrived)
        following = after if step.obs is step.next_obs else record(step.obs, *arrived)
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
