"""Novelty rewards of agents with action values: added to the rewards that they learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.optim.phases import Part
from gymnast.agents.policy.intrinsic import INTRINSIC, IntrinsicName, build_intrinsic
from gymnast.agents.policy.novelty import Experience, Intrinsic
from gymnast.agents.policy.reward_scale import RewardScale
from gymnast.envs.step import Obs, Step
from gymnast.replay.rollout import Rollout

LEARNS_FROM = 256
"""Transitions, at least, that a novelty reward learns from at a time."""


@dataclass(frozen=True)
class IntrinsicConfig:
    """The settings of every agent with action values that rewards novelty."""

    intrinsic: IntrinsicName = "none"
    """Novelty reward: rnd, the error in predicting a random network (Burda et al. 2019); counts, 1/sqrt(visits); icm,
    the error in predicting what an action changes (Pathak et al. 2017); episodic, unlike the rest of the episode (Badia
    et al. 2020)."""
    intrinsic_coef: float = 0.1
    """Factor of the scaled novelty reward, which is added to the rewards that are learned from."""

    def check_intrinsic(self) -> None:
        """Raise ValueError for an unknown name or factor, or a setting that needs values on the host."""
        if self.intrinsic not in INTRINSIC:
            raise ValueError(f"intrinsic must be one of {', '.join(INTRINSIC)}, got {self.intrinsic!r}")
        if not 0.0 <= self.intrinsic_coef < math.inf:
            raise ValueError(f"intrinsic_coef must be >= 0, got {self.intrinsic_coef}")
        if self.intrinsic != "none" and getattr(self, "cuda_graphs", False):
            raise ValueError(
                f"intrinsic {self.intrinsic} cannot be combined with cuda_graphs: the host cannot read values"
            )


class IntrinsicReward:
    """A novelty reward of the transitions that an agent stores, which it learns from as they come.

    It is divided by the running deviation of its discounted sums within episodes.
    """

    def __init__(self, novelty: Intrinsic, coef: float, gamma: float, num_envs: int, *, device: torch.device) -> None:
        self.novelty, self.coef = novelty, coef
        self.scale = RewardScale(gamma, num_envs, device=device)
        self.recent = Rollout(math.ceil(LEARNS_FROM / num_envs), num_envs, device=device)
        """Transitions that are not learned from yet."""
        self.metrics: Metrics = {}
        """Of the last steps."""

    @torch.no_grad()
    def __call__(self, obs: Obs, action: Tensor, step: Step) -> Tensor:
        """The reward to add for each row's transition, [N]."""
        found = self.novelty.reward(obs, action, step)
        count = torch.ones_like(found) if step.active is None else step.active.float()
        scaled = self.scale(found.unsqueeze(0), step.ended.unsqueeze(0), count.unsqueeze(0))[0]
        self.recent.add(
            obs=obs,
            action=action,
            next_obs=step.next_obs if self.novelty.needs_successors else None,
            active=step.active,
        )
        if self.recent.full:
            self.metrics = self._learn()
            self.recent.clear()
        self.metrics["intrinsic_reward"] = scaled.mean()
        return self.coef * scaled

    @torch.enable_grad()
    def _learn(self) -> Metrics:
        fields = self.recent.fields
        return self.novelty.learn(
            Experience(fields["obs"], self.recent.weight, fields["action"], fields.get("next_obs"))
        )

    def update_parts(self) -> Iterator[Part]:
        yield from self.novelty.update_parts()

    def cut_off(self, rows: Sequence[int]) -> None:
        """The episodes of these rows ended unseen."""
        self.novelty.cut_off(rows)

    def state_dict(self) -> dict[str, Any]:
        metrics = {name: value.clone() for name, value in self.metrics.items()}
        return {
            "novelty": self.novelty.state_dict(),
            "scale": self.scale.state_dict(),
            "recent": self.recent.state_dict(),
            "metrics": metrics,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; with another number of rows what was not learned from is dropped."""
        self.novelty.load_state_dict(state["novelty"])
        self.scale.load_state_dict(state["scale"])
        self.recent.clear()
        if state["recent"]["weight"].shape == self.recent.weight.shape:
            self.recent.load_state_dict(state["recent"])
        self.metrics = dict(state["metrics"])


def build_intrinsic_reward(
    config: Any,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    *,
    num_envs: int,
    device: torch.device,
    seed: np.random.SeedSequence,
) -> IntrinsicReward | None:
    """The novelty reward that a config asks for, if any; only then is a seed spawned."""
    if config.intrinsic == "none":
        return None
    own = observation_space, action_space
    novelty = build_intrinsic(config.intrinsic, *own, num_envs=num_envs, device=device, seed=seed.spawn(1)[0])
    assert novelty is not None
    return IntrinsicReward(novelty, config.intrinsic_coef, config.gamma, num_envs, device=device)
