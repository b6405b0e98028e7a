"""The greedy action of a table as a module of torch, which can be exported."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.maths.td import allowed
from gymnast.agents.prediction import GreedyPolicy
from gymnast.agents.tabular.discretize import States
from gymnast.envs.step import Obs
from gymnast.networks.layers.images import leaves


class StateNumbers(nn.Module):
    """`States.index` as a module: observations [N, ...] to int64 [N]."""

    low: Tensor
    width: Tensor
    bins: Tensor

    def __init__(self, states: States) -> None:
        super().__init__()
        self.parts, self.radices = list(leaves(states.space)), states.radices
        for name, values in (("low", states.low), ("width", states.high - states.low), ("bins", states.bins)):
            self.register_buffer(name, torch.from_numpy(np.array(values, np.float64)), persistent=False)

    def forward(self, obs: Obs) -> Tensor:
        digits: list[Tensor] = []
        boxes = 0
        for path, space in self.parts:
            values = _at(obs, path)
            values = values.reshape(values.shape[0], -1)
            if isinstance(space, spaces.Box):
                of = slice(boxes, boxes + values.shape[1])
                cell = ((values.double() - self.low[of]) / self.width[of] * self.bins[of]).floor()
                values = cell.clamp(min=0.0).minimum(self.bins[of] - 1.0)
                boxes += values.shape[1]
            first = [0] * values.shape[1]
            if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
                first = np.asarray(space.start).reshape(-1).tolist()
            digits += [digit - start for digit, start in zip(values.long().unbind(1), first, strict=True)]
        number = digits[0]
        for digit, radix in zip(digits[1:], self.radices[1:], strict=True):
            number = number * radix + digit
        return number


def _at(obs: Obs, path: tuple[str, ...]) -> Tensor:
    for key in path:
        assert isinstance(obs, dict)
        obs = obs[key]
    assert isinstance(obs, Tensor)
    return obs


class GreedyTable(GreedyPolicy):
    """The first allowed action with the largest value in a table [stages * S, A].

    With several stages it remembers the number of the step in the episode, [N, 1]; steps past the last stage are of
    that stage.
    """

    table: Tensor

    def __init__(
        self, states: States, table: np.ndarray, *, first_action: int, stages: int = 1, takes_masks: bool = False
    ) -> None:
        super().__init__()
        self.numbers, self.size = StateNumbers(states), states.size
        self.first_action, self.stages, self.takes_masks = first_action, stages, takes_masks
        self.register_buffer("table", torch.from_numpy(np.ascontiguousarray(table, np.float64)))
        self.memory_size = 1 if stages > 1 else 0

    def forward(
        self, obs: Obs, memory: Tensor | None, action_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        row = self.numbers(obs)
        if memory is not None:
            row = row + memory[:, 0].long() * self.size
            memory = (memory + 1.0).clamp(max=self.stages - 1)
        preference = self.table.index_select(0, row)  # [N, A]
        mask = action_mask if self.takes_masks else None
        return allowed(preference, mask).argmax(1) + self.first_action, preference, memory
