"""How an agent with a policy acts: by sampling from it, or by its most probable action."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, restore_generator, seed_sequence, torch_seed
from gymnast.agents.optim.together import Rows
from gymnast.envs.step import Obs
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.fast.policy_backward import PlainActorCritic
from gymnast.networks.heads.actor_critic import ActorCriticNetwork
from gymnast.networks.layers.recurrent import reset


class PolicyConfig(Protocol):
    @property
    def action_masks(self) -> bool: ...


class PolicyAgent(Protocol):
    """The part of an agent that its actors use."""

    network: ActorCriticNetwork
    plain: PlainActorCritic | None
    distribution: Distribution
    device: torch.device

    @property
    def config(self) -> PolicyConfig: ...


class PolicyActor:
    """Acts on the agent's network, which it shares, with its own generator and recurrent state.

    If it `draws`, it samples actions and records the values that learning needs. Otherwise it takes the most probable
    ones.
    """

    def __init__(
        self,
        agent: PolicyAgent,
        num_envs: int,
        *,
        draws: bool,
        seed: int | np.random.SeedSequence,
    ) -> None:
        self.agent, self.draws = agent, draws
        self.rows: Rows | None = None
        self.generator = torch.Generator(agent.device).manual_seed(torch_seed(seed_sequence(seed)))
        self.num_envs = num_envs
        size = agent.network.memory_size
        self.memory = torch.zeros((num_envs, size), device=agent.device) if size else None
        """[N, M], of the observations acted on so far."""

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """All generators that it draws from; a recording must know them."""
        return (self.generator,)

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent, before = self.agent, None
        if agent.plain is not None:
            output, value = agent.plain(obs)
        elif self.memory is None:
            output, value = agent.network(obs)
        else:
            before = reset(self.memory, start)
            output, value, self.memory = agent.network.step(obs, before)
        mask = action_mask if agent.config.action_masks else None
        if mask is not None:
            output = agent.distribution.masked(output, mask)
        if not self.draws:
            return Acted(agent.distribution.to_env(agent.distribution.mode(output)))
        raw, log_prob = self._drawn(output)
        action = agent.distribution.to_env(raw)
        return Acted(action, log_prob, value, before, self.memory, raw, mask)

    def _drawn(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log-probabilities; of several learners, each draws for all and takes its own."""
        rows, act = self.rows, self.agent.distribution.act
        if rows is None:
            return act(output, self.generator)
        raw, log_prob = act(rows.among_all(output), self.generator)
        return rows.of(raw), rows.of(log_prob)

    def uniform(self, steps: int) -> Tensor:
        """The uniform numbers [T, N] of which the actions of `steps` steps are drawn, for compiled code."""
        rows = self.rows
        if rows is None:
            return torch.rand((steps, self.num_envs), generator=self.generator)
        return rows.of(torch.rand((steps, rows.total), generator=self.generator).T).T.contiguous()

    def state_dict(self) -> dict[str, Any]:
        memory = {} if self.memory is None else {"memory": self.memory.clone()}
        return {"generator": self.generator.get_state(), **memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self.generator, state["generator"])
        if self.memory is not None:
            self.memory = state["memory"].to(self.agent.device)
