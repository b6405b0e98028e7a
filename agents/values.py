"""What the K outputs per action of a Q network mean."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gymnast.agents.losses import huber, mse, td_target

LOSSES = {"huber": huber, "mse": mse}


class Values(Protocol):
    """One meaning of the outputs; the rest of the agent knows no more of them than this."""

    outputs: int
    """K, the outputs per action."""

    def q(self, output: Tensor) -> Tensor:
        """Action values: outputs [..., A, K] to [..., A]."""
        ...

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [B] and error [B], the priority of prioritized replay, >= 0 without gradient.

        `output` [B, K] is of the action taken, `next_output` [B, K] of the action that the target takes next.
        """
        ...


class Scalar:
    """One output per action, its value: plain Q-learning (Mnih et al. 2015)."""

    outputs = 1

    def __init__(self, loss: str) -> None:
        self.loss = LOSSES[loss]

    def q(self, output: Tensor) -> Tensor:
        return output.squeeze(-1)

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        prediction, target = output.squeeze(-1), td_target(reward, discount, next_output.squeeze(-1))
        return self.loss(prediction, target), (target - prediction.detach()).abs()
