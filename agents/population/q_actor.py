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
from gymnast.agents.value.values import Interpretation
from gymnast.envs.step import Obs
from gymnast.networks.layers import noisy
from gymnast.networks.stacked.q import StackedQNetwork


class MemberQActor:
    """Acts with shared parameters [M, P] in M * N rows; the observations determine N.

    `epsilon` gives the current probability of a random action: a number, or one for each member, [M]. With `doubles`
    it draws like single agents that act in NumPy. `layers` draws new noise of the network for every action of every
    row, of a `kind`; a single agent in one environment draws none for a random action.
    """

    def __init__(
        self,
        network: StackedQNetwork,
        values: Interpretation,
        parameters: Tensor,
        noise: Noise,
        *,
        epsilon: Callable[[], float | Tensor],
        doubles: bool,
        masks: bool,
        first_action: int,
        layers: Noise | None = None,
        kind: noisy.Noise = "factorised",
    ) -> None:
        self.network, self.values, self.parameters, self.noise = network, values, parameters, noise
        self.epsilon, self.masks, self.first_action = epsilon, masks, first_action
        self.layers, self.kind = layers, kind
        self._draw = noise.double if doubles else noise.uniform
        self._of_layers: Tensor | None = None  # [M, N, C]

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """Generators of its noise; a recording must know them."""
        return (*self.noise.generators, *(() if self.layers is None else self.layers.generators))

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        q = self.values.q(self.network(self.parameters, obs, self._new_noise(len(start))))  # [M, N, A]
        rows, actions = q.shape[1:]
        mask, epsilon = action_mask if self.masks else None, self.epsilon()
        action = allowed(q.flatten(0, 1), mask).argmax(1)
        if isinstance(epsilon, Tensor):
            epsilon = epsilon.repeat_interleave(rows)
        if isinstance(epsilon, Tensor) or epsilon > 0.0:
            uniform = self._draw(2, rows).transpose(0, 1).flatten(1)  # [2, M * N]
            action = mixed(action, uniform, actions, allowed=mask, epsilon=epsilon)
        return Acted(action + self.first_action if self.first_action else action, raw=action, mask=mask)

    def _new_noise(self, rows: int) -> Tensor | None:
        if self.layers is None:
            return None
        if self._of_layers is None:
            members, size = len(self.parameters), self.network.noise_size + self.network.fractions
            self._of_layers = torch.zeros((members, rows // members, size), device=self.parameters.device)
        self.layers.fill(self._of_layers, self.kind, weights=self.network.noise_size)
        return self._of_layers

    def state_dict(self) -> dict[str, Any]:
        return {"noise": self.noise.state_dict(), "layers": self.layers and self.layers.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.noise.load_state_dict(state["noise"])
        if self.layers is not None:
            self.layers.load_state_dict(state["layers"])
