"""Populations that learn from rollouts: all members fill theirs together, and learn once they are full."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.optim.compiled import Captured
from gymnast.agents.population.base import Population
from gymnast.agents.population.noise import Noise
from gymnast.agents.population.samples import AnySamples, chosen
from gymnast.replay.rollout import Rollout


class RolloutPopulation(Population, Generic[AnySamples]):
    """A population whose members fill rollouts of T steps and learn from each in epochs of minibatches."""

    _order: Noise
    """The order of the samples of an epoch."""
    _gradient: Callable[[Tensor, AnySamples], tuple[Tensor, Metrics]]

    def _prepare(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        config = self.config
        samples = self.num_envs * config.rollout_steps
        if config.minibatches > samples:
            raise ValueError(f"minibatches must be <= {samples}, the samples of a rollout, got {config.minibatches}")
        self._began = 0
        self.rollout = Rollout(config.rollout_steps, self.members * self.num_envs, device=self.device)
        self._captured = Captured(self._learn) if config.cuda_graphs else None

    def updates_due(self, env_step: int) -> int:
        """1 once the rollout is full."""
        return int(self.rollout.full)

    def _check_room(self) -> None:
        if self.rollout.full:
            raise ValueError(f"the rollout of {self.rollout.steps} steps is full: learn before storing more")

    def learn(self) -> Metrics:
        """All epochs and minibatches of a rollout, of all members at once; metrics are [M]."""
        self._set_settings(self._began)
        metrics = self._learn() if self._captured is None else self._captured(self._order.generators)
        self.updates += self.config.epochs * self.config.minibatches
        self.rollout.clear()
        self._begin(self.member_step)
        return metrics

    def _begin(self, step: int) -> None:
        """A rollout begins at an env step of each member."""
        self._began = step

    def _learn(self) -> Metrics:
        """The part of learning that runs only on the device and is the same every time."""
        metrics = Metrics()
        for batch in self._batches():
            grad, metrics = self._gradient(self.parameters.detach(), batch)
            self._apply(grad, metrics)
        return metrics

    def _batches(self) -> Iterator[AnySamples]:
        """The minibatches of all epochs; each member has its own order."""
        config, whole = self.config, self._samples()
        count = self.num_envs * self.rollout.steps
        for _ in range(config.epochs):
            if config.minibatches == 1:
                yield whole
                continue
            order = self._order.uniform(count).argsort(1)  # [M, S]
            order += torch.arange(self.members, device=self.device).unsqueeze(1) * count
            for index in order.tensor_split(config.minibatches, 1):
                yield chosen(whole, index)

    @abstractmethod
    def _samples(self) -> AnySamples:
        """The rollout by members, with their learning targets."""

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, random numbers and counts, with the current rollout under "replay"."""
        replay = {"rollout": self.rollout.state_dict(), "began": self._began}
        return {**super().state_dict(), "order": self._order.state_dict(), "replay": replay}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" a new rollout begins."""
        super().load_state_dict(state)
        self._order.load_state_dict(state["order"])
        self.rollout.clear()
        began = self.member_step
        if "replay" in state:
            self.rollout.load_state_dict(state["replay"]["rollout"])
            began = state["replay"]["began"]
        self._begin(began)
