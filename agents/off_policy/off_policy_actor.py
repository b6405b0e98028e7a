"""How an off-policy actor-critic acts: at first at random, then by its policy, with noise if that is deterministic."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, restore_generator, seed_sequence, torch_seed
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.memory import Histories
from gymnast.agents.off_policy.policies import Policy
from gymnast.agents.schedules import Schedule
from gymnast.envs.step import Obs
from gymnast.networks.distributions.bounds import Bounds
from gymnast.networks.distributions.choices import BLOCKED
from gymnast.networks.fast.numpy_policy import NumpyPolicy
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork

PULL = 0.15
"""Share of an Ornstein-Uhlenbeck process that is lost at each step (theta of Lillicrap et al. 2016)."""


class OffPolicyAgent(Protocol):
    """The part of an agent that its actors use."""

    config: OffPolicyActorCriticConfig
    device: torch.device
    online: CriticNetwork
    network: PolicyNetwork
    numpy_policy: NumpyPolicy | None
    policy: Policy
    bounds: Bounds | None
    first_action: int
    histories: Histories | None
    exploration_noise: Schedule
    env_step: int

    @property
    def acts_at_random(self) -> bool: ...


class OffPolicyActor:
    """Acts on the agent's networks, which it shares, with its own generator.

    `draws` samples actions, or adds noise to deterministic ones; `warms_up` makes them uniform until learning begins.
    """

    def __init__(
        self,
        agent: OffPolicyAgent,
        num_envs: int,
        *,
        draws: bool,
        warms_up: bool,
        seed: int | np.random.SeedSequence,
    ) -> None:
        self.agent, self.draws, self.warms_up = agent, draws, warms_up
        self.generator = torch.Generator(agent.device).manual_seed(torch_seed(seed_sequence(seed)))
        correlated = draws and agent.config.policy == "deterministic" and agent.config.exploration != "normal"
        shape = (num_envs, agent.policy.noise_size)
        self.process = torch.zeros(shape, device=agent.device) if correlated else None
        """[N, D], the Ornstein-Uhlenbeck process of each row, in units of the deviation."""

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        mask = action_mask if agent.config.action_masks and agent.bounds is None else None
        if self.warms_up and agent.acts_at_random:
            raw = self._random(len(start), mask)
        else:
            raw = self._by_policy(self._output(obs), start, mask)
        if agent.bounds is None:
            return Acted(raw + agent.first_action if agent.first_action else raw, raw=raw, mask=mask)
        return Acted(agent.bounds.to_env(raw), raw=raw)

    def _output(self, obs: Obs) -> Tensor:
        agent = self.agent
        if agent.numpy_policy is not None and isinstance(obs, Tensor):
            return torch.from_numpy(agent.numpy_policy(obs.numpy()))
        output: Tensor = agent.network(agent.online.features(obs))
        return output

    def _random(self, rows: int, mask: Tensor | None) -> Tensor:
        """Uniform actions: [N, D] in [-1, 1], or int64 [N] among the allowed ones."""
        agent = self.agent
        if agent.bounds is not None:
            shape = (rows, agent.policy.noise_size)
            return torch.rand(shape, generator=self.generator, device=agent.device) * 2.0 - 1.0
        output = torch.zeros((rows, agent.policy.outputs), device=agent.device)
        return self._drawn(output if mask is None else output.masked_fill(~mask, BLOCKED))

    def _by_policy(self, output: Tensor, start: Tensor, mask: Tensor | None) -> Tensor:
        agent = self.agent
        if agent.bounds is None:
            logits = output if mask is None else output.masked_fill(~mask, BLOCKED)
            return self._drawn(logits) if self.draws else agent.policy.act(logits, None)
        if not self.draws:
            return agent.policy.act(output, None)
        if agent.config.policy == "stochastic":
            return agent.policy.act(output, self._normal(len(output)))
        action, scale = agent.policy.act(output, None), agent.exploration_noise(agent.env_step)
        return (action + scale * self._noise(action, start)).clamp_(-1.0, 1.0)

    def _drawn(self, logits: Tensor) -> Tensor:
        """Actions drawn by their logits [N, A]: the largest after Gumbel noise."""
        uniform = torch.rand(logits.shape, generator=self.generator, device=logits.device)
        return (logits - (-uniform.clamp(min=1e-20).log()).log()).argmax(1)

    def _normal(self, rows: int) -> Tensor:
        shape = (rows, self.agent.policy.noise_size)
        return torch.randn(shape, generator=self.generator, device=self.agent.device)

    def _noise(self, action: Tensor, start: Tensor) -> Tensor:
        """Noise [N, D] of deviation 1, or of a process that starts at 0 in each episode."""
        normal = self._normal(len(action))
        if self.process is None:
            return normal
        before = torch.where(start.unsqueeze(1), 0.0, self.process)
        self.process = before - PULL * before + normal
        return self.process

    def state_dict(self) -> dict[str, Any]:
        process = {} if self.process is None else {"process": self.process.clone()}
        return {"generator": self.generator.get_state(), **process}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self.generator, state["generator"])
        if self.process is not None and "process" in state:  # not of an actor without noise, as one that acted greedily
            self.process = state["process"].to(self.agent.device)
