"""The weight of the entropy in a stochastic policy's objective: learned, or given by a schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gymnast.agents.maths.actor_critic import temperature_slope
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.optim import optimizers
from gymnast.agents.schedules import schedule


class Temperature:
    """A number >= 0 that stays in place on the device; a learned one keeps the entropy at `target` nats."""

    def __init__(self, config: OffPolicyActorCriticConfig, *, target: float, device: torch.device) -> None:
        self.target = target if config.target_entropy is None else config.target_entropy
        self.learns = config.temperature == "auto" and config.policy == "stochastic"
        given = 0.0 if config.policy == "deterministic" else config.temperature
        self.schedule = None if self.learns else schedule(given, name="temperature")
        start = config.initial_temperature if self.schedule is None else self.schedule(0)
        self.value = torch.tensor(start, device=device)
        """[], the temperature."""
        rate = config.learning_rate if config.temperature_learning_rate is None else config.temperature_learning_rate
        self.rate = schedule(rate, name="temperature_learning_rate")
        if self.learns:
            self.logarithm = nn.Parameter(torch.tensor(math.log(start), device=device))
            self.logarithm.grad = torch.zeros_like(self.logarithm)
            self.optimizer = optimizers.build("adam", self.logarithm, lr=self.rate(0), captured=config.cuda_graphs)
            self._step = optimizers.stepper(self.optimizer)

    def anneal(self, env_step: int) -> None:
        """Set what follows a schedule."""
        if self.learns:
            optimizers.set_learning_rate(self.optimizer, self.rate(env_step))
        elif self.schedule is not None:
            self.value.fill_(self.schedule(env_step))

    def learn(self, entropy: Tensor) -> None:
        """One step by the entropies [B] of the policy; none by none."""
        if not self.learns or not len(entropy):
            return
        assert self.logarithm.grad is not None
        self.logarithm.grad.copy_(temperature_slope(entropy, self.target))
        self._step()
        self.value.copy_(self.logarithm.detach().exp())

    def state_dict(self) -> dict[str, Any]:
        if not self.learns:
            return {}
        return {"logarithm": self.logarithm.detach().clone(), "optimizer": optimizers.state_of(self.optimizer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.learns:
            with torch.no_grad():
                self.logarithm.copy_(state["logarithm"])
            optimizers.load_state(self.optimizer, state["optimizer"])
            self.value.copy_(self.logarithm.detach().exp())
