"""How PQN acts: epsilon-greedily, with nothing that the host would have to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, restore_generator, seed_sequence, torch_seed
from gymnast.agents.value.q_actor import explored
from gymnast.envs.step import Obs

if TYPE_CHECKING:
    from gymnast.agents.value.pqn import PQN


class PQNActor:
    """Acts on the agent's network, which it shares, with a generator of its own.

    While it explores, epsilon is the agent's of the rollout under way. On the CPU it tells the largest action value.
    """

    def __init__(self, agent: PQN, *, explore: bool, seed: int | np.random.SeedSequence) -> None:
        self.agent, self.explore = agent, explore
        self.eval_epsilon = agent.config.eval_epsilon  # an evaluation under a protocol sets the protocol's
        self.generator = torch.Generator(agent.device).manual_seed(torch_seed(seed_sequence(seed)))

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        mask = action_mask if agent.config.action_masks else None
        value, action = agent.best(obs, mask)
        epsilon = agent.exploration if self.explore else self.eval_epsilon
        if self.explore or self.eval_epsilon > 0.0:
            action = explored(action, agent.actions, mask, epsilon, self.generator)
        told = value.unsqueeze(1) if agent.device.type == "cpu" else None
        return Acted(action + agent.first_action if agent.first_action else action, value=told, raw=action)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self.generator, state["generator"])
