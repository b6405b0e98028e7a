"""The temperatures of many agents at once: learned by each, or given by a schedule for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.population.parameters import MemberParameters
from gymnast.agents.schedules import schedule


class MemberTemperature:
    """`Temperature` of M agents, each with its own target of the entropy."""

    def __init__(
        self,
        config: OffPolicyActorCriticConfig,
        *,
        targets: Sequence[float],
        rates: Sequence[float] | None,
        device: torch.device,
    ) -> None:
        learns = config.temperature == "auto" and config.policy == "stochastic"
        given = 0.0 if config.policy == "deterministic" else config.temperature
        self.schedule = None if learns else schedule(given, name="temperature")
        start = config.initial_temperature if self.schedule is None else self.schedule(0)
        self.value = torch.full((len(targets), 1), start, device=device)
        """[M, 1]."""
        self._targets = torch.tensor(targets, device=device).unsqueeze(1)
        own = config.temperature_learning_rate
        rate = config.learning_rate if own is None else own
        self.logarithm: MemberParameters | None = None
        """[M, 1], of learned temperatures."""
        if learns:
            rows = torch.full((len(targets), 1), math.log(start), device=device)
            self.logarithm = MemberParameters(rows, "adam", rate=rate, rates=rates if own is None else None, eps=None)

    def of_rows(self, count: int) -> Tensor:
        """The temperature of each of `count` rows of each agent, [M * count, 1]."""
        return self.value.repeat_interleave(count, 0)

    def anneal(self, env_step: int) -> None:
        """Set what follows a schedule."""
        if self.logarithm is not None:
            self.logarithm.set_rate(env_step)
        elif self.schedule is not None:
            self.value.fill_(self.schedule(env_step))

    def learn(self, entropy: Tensor) -> None:
        """One step by the entropies [M, B] of the policies."""
        if self.logarithm is not None:
            self.logarithm.step(entropy.mean(1, keepdim=True) - self._targets)
            self.value.copy_(self.logarithm.rows.detach().exp())

    def state_dict(self) -> dict[str, Any]:
        return {} if self.logarithm is None else self.logarithm.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.logarithm is not None:
            self.logarithm.load_state_dict(state)
            self.value.copy_(self.logarithm.rows.detach().exp())
