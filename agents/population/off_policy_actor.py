"""How a population of off-policy actor-critics acts: all members at once, each in its own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.off_policy_actor import PULL
from gymnast.agents.off_policy.policies import Policy
from gymnast.agents.population.noise import Noise
from gymnast.envs.step import Obs
from gymnast.networks.distributions.bounds import Bounds


class MemberOffPolicyActor:
    """Acts in M * N rows, N for each member in turn; the observations determine N.

    `outputs` gives the policies' outputs [M * N, P] of observations; `at_random` says whether actions are uniform ones
    still, and `scale` the deviation of a deterministic policy's noise, a number or [M, 1, 1]. Without `draws` it takes
    the policies' modes.
    """

    def __init__(
        self,
        outputs: Callable[[Obs], Tensor],
        policy: Policy,
        bounds: Bounds,
        noise: Noise,
        *,
        members: int,
        draws: bool,
        config: OffPolicyActorCriticConfig,
        at_random: Callable[[], bool],
        scale: Callable[[], float | Tensor],
    ) -> None:
        self.outputs, self.policy, self.bounds, self.noise = outputs, policy, bounds, noise
        self.members, self.draws, self.stochastic = members, draws, config.policy == "stochastic"
        self.at_random, self.scale = at_random, scale
        self.correlated = draws and not self.stochastic and config.exploration != "normal"
        self.process: Tensor | None = None
        """[M * N, D], the Ornstein-Uhlenbeck processes of correlated noise, once there is one."""

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """Generators of its noise."""
        return self.noise.generators

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        shape = len(start) // self.members, self.policy.noise_size  # of each member
        if self.draws and self.at_random():
            raw = self.noise.uniform(*shape).flatten(0, 1) * 2.0 - 1.0
        elif not self.draws:
            raw = self.policy.act(self.outputs(obs), None)
        elif self.stochastic:
            raw = self.policy.act(self.outputs(obs), self.noise.normal(*shape).flatten(0, 1))
        else:
            noise = self._noise(self.noise.normal(*shape).flatten(0, 1), start).view(self.members, *shape)
            raw = (self.policy.act(self.outputs(obs), None) + (self.scale() * noise).flatten(0, 1)).clamp_(-1.0, 1.0)
        return Acted(self.bounds.to_env(raw), raw=raw)

    def _noise(self, normal: Tensor, start: Tensor) -> Tensor:
        """Noise [M * N, D] of deviation 1, or of processes that start at 0 in each episode; as in `OffPolicyActor`."""
        if not self.correlated:
            return normal
        process = torch.zeros_like(normal) if self.process is None else self.process
        before = torch.where(start.unsqueeze(1), 0.0, process)
        self.process = before - PULL * before + normal
        return self.process

    def state_dict(self) -> dict[str, Any]:
        return {"noise": self.noise.state_dict(), "process": None if self.process is None else self.process.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.noise.load_state_dict(state["noise"])
        self.process = state["process"]
