"""How a population with action values acts: epsilon-greedily, all members at once, each in its own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.agents.maths.td import allowed
from gymnast.agents.population.noise import Noise
from gymnast.agents.value.q_actor import mixed
from gymnast.agents.value.values import Values
from gymnast.envs.step import Obs
from gymnast.networks.stacked.q import StackedQNetwork


class MemberQActor:
    """Acts with shared parameters [M, P] in M * N rows; the observations determine N.

    `epsilon` gives the current probability of a random action: a number, or one for each member, [M]. With `doubles`
    it draws as single agents do that act in NumPy.
    """

    def __init__(
        self,
        network: StackedQNetwork,
        values: Values,
        parameters: Tensor,
        noise: Noise,
        *,
        epsilon: Callable[[], float | Tensor],
        doubles: bool,
        masks: bool,
        first_action: int,
    ) -> None:
        self.network, self.values, self.parameters, self.noise = network, values, parameters, noise
        self.epsilon, self.masks, self.first_action = epsilon, masks, first_action
        self._draw = noise.double if doubles else noise.uniform

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """Generators of its noise; a recording must know them."""
        return self.noise.generators

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        q = self.values.q(self.network(self.parameters, obs))  # [M, N, A]
        rows, actions = q.shape[1:]
        mask, epsilon = action_mask if self.masks else None, self.epsilon()
        action = allowed(q.flatten(0, 1), mask).argmax(1)
        if isinstance(epsilon, Tensor):
            epsilon = epsilon.repeat_interleave(rows)
        if isinstance(epsilon, Tensor) or epsilon > 0.0:
            uniform = self._draw(2, rows).transpose(0, 1).flatten(1)  # [2, M * N]
            action = mixed(action, uniform, actions, allowed=mask, epsilon=epsilon)
        return Acted(action + self.first_action if self.first_action else action, raw=action)

    def state_dict(self) -> dict[str, Any]:
        return {"noise": self.noise.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.noise.load_state_dict(state["noise"])
