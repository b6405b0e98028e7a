"""How a recurrent off-policy actor-critic acts: as without memory, on what policy and critics remember."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.agents.off_policy.off_policy_actor import OffPolicyActor, OffPolicyAgent
from gymnast.envs.step import Obs
from gymnast.networks.layers.recurrent import reset


class RecurrentOffPolicyActor(OffPolicyActor):
    """An `OffPolicyActor` with a memory of each row's current episode.

    It keeps the critics' memory too, which the replay stores with each sequence.
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
        super().__init__(agent, num_envs, draws=draws, warms_up=warms_up, seed=seed)
        assert agent.histories is not None
        self._histories = agent.histories
        self.memory = torch.zeros((num_envs, agent.histories.memory_size), device=agent.device)
        """[N, M], of the observations and actions so far."""

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        """Like `OffPolicyActor.act`; `Acted.memory` is that before `obs`, zero in rows that begin an episode."""
        memory = reset(self.memory, start)
        self._features, _, after = self._histories.step(obs, memory)
        acted = super().act(obs, start, action_mask)
        assert acted.raw is not None
        self.memory = self._histories.after(after, acted.raw)
        acted.memory = memory
        return acted

    def _output(self, obs: Obs) -> Tensor:
        """The policy's outputs, on its features of the memory and `obs`."""
        output: Tensor = self.agent.network(self._features)
        return output

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "memory": self.memory.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.memory = state["memory"].to(self.agent.device)
