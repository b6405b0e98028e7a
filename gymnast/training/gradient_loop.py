"""A3C whose workers share no memory with the learner: it holds the weights, and takes a step with each gradient.

A worker gets the weights before each rollout and sends back the rollout's gradient at them (Mnih et al. 2016, algorithm
S3, with the accumulated gradient sent). Other workers' gradients may have been applied meanwhile: `weights_age` in the
log says how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gymnast.agents.optim import optimizers
from gymnast.agents.policy.hogwild import SharingAgent
from gymnast.training.crew import Crew
from gymnast.training.crew_loop import CrewLoop, Employed
from gymnast.training.gradient_worker import Gradient, GradientWorkerMaker, Weights
from gymnast.training.parts import Parts


class GradientLoop(CrewLoop):
    """A loop whose gradients are computed by workers."""

    def __init__(self, parts: Parts, crew: Crew) -> None:
        super().__init__(parts, crew, size=parts.config.workers, most=parts.config.rollout_steps)
        assert isinstance(parts.agent, SharingAgent)  # like every agent whose config has workers and rollouts
        self._sharing: SharingAgent = parts.agent
        self._published: tuple[int, Any] | None = None
        self._step = optimizers.stepper(self._sharing.optimizer)

    def begin(self) -> None:
        """Nothing to prepare."""

    def maker(self, number: int, seed: np.random.SeedSequence) -> GradientWorkerMaker:
        parts = self.parts
        return GradientWorkerMaker(type(parts.agent), parts.config, parts.options, parts.env_like, seed)

    def request(self, member: Employed) -> tuple[Any, Any]:
        """The number of steps and the env step of the run, with the newest weights."""
        version = self.agent.updates
        if self._published is None or self._published[0] != version:
            self._published = version, self.crew.publish((version, Weights.of(self._sharing)))
        return (member.asked, self.env_step), self._published[1]

    def take(self, arrived: Sequence[tuple[int, Gradient]]) -> None:
        """Take one step with each gradient, in the order in which they came."""
        agent = self._sharing
        for _, answer in arrived:
            self.env_step += answer.num_active
            self.agent.env_step = self.env_step
            if answer.gradient is None:
                continue
            agent.weights.grad.copy_(torch.from_numpy(np.array(answer.gradient)))
            for group, rate in enumerate(answer.rates):
                optimizers.set_learning_rate(agent.optimizer, rate, group=group)
            self._step()
            Weights(answer.gradient, answer.rest).load_rest(agent)
            self.agent.updates += 1
            self.metrics = answer.metrics
