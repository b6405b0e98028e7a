"""Populations whose members learn from a replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import LearningError
from gymnast.agents.experience.pace import Pace
from gymnast.agents.population.base import Population
from gymnast.agents.population.replay import build_replay
from gymnast.agents.schedules import schedule
from gymnast.envs.step import Obs, Step
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.ring import Ring


class ReplayPopulation(Population):
    """A population with one replay, which keeps the transitions of all members; each samples only its own."""

    action_size = 0
    """Numbers of an action, 0 for a choice."""

    def _prepare_replay(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        """Set what decides when and from what members learn; `seeds` are those of the members' replays."""
        config = self.config
        self._replay_seeds = seeds
        self.beta = schedule(config.priority_beta, name="priority_beta", high=1.0)
        self.replay: Ring | DeviceRing | None = None
        """None until `allocate` makes it."""
        begins = config.learns_from(self.num_envs)
        self.pace = Pace(begins, period=config.train_period, updates=config.updates_per_train)
        """Of each member, by its own env steps."""

    def _each(self, name: str) -> tuple[Any, ...]:
        """A setting's number of each member."""
        return self.vary.get(name) or (getattr(self.config, name),) * self.members

    def allocate(self) -> Ring | DeviceRing:
        """The replay, made at the first call, with which training begins: a population that only acts needs none."""
        if self.replay is None:
            self.replay = build_replay(
                self.config,
                self.observation_space,
                num_envs=self.num_envs,
                device=self.device,
                seeds=self._replay_seeds,
                gammas=self._each("gamma"),
                beta=self.beta,
                noise=self._make_noise,
                action_size=self.action_size,
            )
        return self.replay

    @torch.no_grad()
    def _add(self, obs: Obs, action: Tensor, step: Step, *, reward: Tensor, **masks: Tensor | None) -> None:
        """Store a step of all rows, and count it; `masks` are those of `Ring.add`."""
        try:
            self.allocate().add(
                obs,
                action,
                reward=reward,
                terminated=step.terminated,
                truncated=step.truncated,
                next_obs=step.next_obs,
                following=step.obs,
                active=step.active,
                **masks,
            )
        except ValueError as error:  # observations that are not stacks of frames
            raise LearningError(str(error)) from error
        self._count(step)

    def updates_due(self, env_step: int) -> int:
        """`updates_per_train` for every `train_period` env steps of each member since learning began."""
        return self.pace.due(env_step // self.members, self.updates)

    def scheduled(self) -> dict[str, float]:
        """The settings that are the same for all members and, if replay is prioritized, beta."""
        beta = {"priority_beta": self.beta(self.member_step)} if self.config.prioritized else {}
        return super().scheduled() | beta

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue learning, with the replay under "replay", whose tensors are its own."""
        state = {**super().state_dict(), **self.pace.state_dict()}
        return state if self.replay is None else {**state, "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        super().load_state_dict(state)
        if "replay" in state:
            self.allocate().load_state_dict(state["replay"])
            self.pace.load_state_dict(state)
        else:
            self.replay = None
            self.pace.restart(self.member_step + self.config.learns_from(self.num_envs), self.updates)
