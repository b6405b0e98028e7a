"""How bootstrapped DQN acts: by one of its heads for a whole episode, and greedily by all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, restore_generator, seed_sequence, torch_seed
from gymnast.agents.value.ensemble import EnsembleValues, votes
from gymnast.agents.value.q_actor import OffPolicy, QActor
from gymnast.envs.step import Obs


class EnsembleActor(QActor):
    """A `QActor` that explores by a head drawn for each row and episode (Osband et al. 2016, algorithm 1).

    Otherwise it acts by the heads' mean, or with `bootstrap_vote` by their votes.
    """

    def __init__(
        self,
        agent: OffPolicy,
        num_envs: int,
        *,
        explore: bool,
        seed: int | np.random.SeedSequence,
        eval_epsilon: float = 0.0,
    ) -> None:
        sequence = seed_sequence(seed)
        super().__init__(agent, num_envs, explore=explore, seed=sequence, eval_epsilon=eval_epsilon)
        self._head_generator = torch.Generator(agent.device).manual_seed(torch_seed(sequence.spawn(1)[0]))
        self.heads = torch.zeros(num_envs, dtype=torch.int64, device=agent.device)
        """The head of each row's episode, [N]."""
        self._allowed: Tensor | None = None

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        count, agent = self.agent.config.bootstrap_heads, self.agent
        drawn = torch.randint(count, self.heads.shape, generator=self._head_generator, device=agent.device)
        self.heads = torch.where(start, drawn, self.heads)
        self._allowed = action_mask if agent.config.action_masks else None
        return super().act(obs, start, action_mask)

    def _preference(self, output: Tensor) -> Tensor:
        values, config = self.agent.values, self.agent.config
        assert isinstance(values, EnsembleValues)
        if self.explore:
            index = self.heads.view(-1, 1, 1).expand(-1, output.shape[1], 1)
            return values.of_heads(output).gather(2, index).squeeze(2)
        return votes(values.of_heads(output), self._allowed) if config.bootstrap_vote else values.q(output)

    def state_dict(self) -> dict[str, Any]:
        own = {"heads": self.heads.clone(), "head_generator": self._head_generator.get_state()}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.heads = state["heads"].to(self.agent.device)
        restore_generator(self._head_generator, state["head_generator"])
