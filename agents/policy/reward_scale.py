"""Rewards as a learner sees them: divided by the deviation of their discounted sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gymnast.agents.maths.returns import Number, linear_recurrence
from gymnast.networks.layers.normalise import RunningScale

LARGEST = 10.0
"""Scaled rewards are clipped to this."""


class RewardScale:
    """Divides the rewards of N streams by the running standard deviation of their discounted sums.

    The sum of a stream is R = r + gamma * R of the step before (Engstrom et al. 2020, section 3, item 2); `episodic`
    ones restart with each episode. `gamma` may be a tensor [N], and `statistics` those of several agents.
    """

    def __init__(
        self,
        gamma: Number,
        num_envs: int,
        *,
        device: torch.device,
        episodic: bool = True,
        statistics: RunningScale | None = None,
    ) -> None:
        self.gamma, self.episodic = gamma, episodic
        self.statistics = statistics or RunningScale(device=device)
        self._sum = torch.zeros(num_envs, device=device)  # the carried sum to which the next reward is added

    def __call__(self, reward: Tensor, boundary: Tensor, weight: Tensor) -> Tensor:
        """Rewards [T, N] scaled by statistics that include them; rows of weight 0 do not count."""
        carried = self.gamma * (1.0 - boundary.float() if self.episodic else torch.ones_like(reward))
        following = torch.cat([torch.ones_like(carried[:1]), carried[:-1]])  # weight of the previous sum
        first = torch.cat([(reward[0] + self._sum).unsqueeze(0), reward[1:]])
        sums = linear_recurrence(first.flip(0), following.flip(0)).flip(0)
        self._sum.copy_(carried[-1] * sums[-1])
        self.statistics.update(sums, weight)
        return (reward / self.statistics.std()).clamp(-LARGEST, LARGEST)

    def state_dict(self) -> dict[str, Any]:
        statistics = {name: value.clone() for name, value in self.statistics.state_dict().items()}
        return {"statistics": statistics, "sum": self._sum.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.statistics.load_state_dict(state["statistics"])
        if len(state["sum"]) == len(self._sum):
            self._sum.copy_(state["sum"])
        else:
            self._sum.zero_()
