"""Interpretations of a Q network's K outputs per action."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from gymnast.agents.maths.soft import mean_over
from gymnast.agents.maths.td import (
    categorical_projection,
    huber,
    mse,
    quantile_huber,
    rescale,
    td_target,
    unscale,
)

LOSSES = {"huber": huber, "mse": mse}
VALUES = ("scalar", "rescaled", "categorical", "quantile", "implicit")
"""Names of the kinds below, as `--values` takes them."""


class Interpretation(Protocol):
    """One interpretation of the outputs; the rest of the agent uses only this interface."""

    outputs: int
    """K, the outputs per action of the head's last layer."""

    def q(self, output: Tensor) -> Tensor:
        """Action values, or numbers in the same order: outputs [..., A, K] to [..., A]."""
        ...

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [B] and error [B], the priority of prioritized replay, >= 0 without gradient.

        `output` [B, K] is of the action taken, `next_output` [B, K] of the action that the target takes next.
        """
        ...


class Values(Interpretation, Protocol):
    """An interpretation of the outputs of one head."""

    def expected(self, output: Tensor, policy: Tensor) -> Tensor:
        """The outputs of a policy, probabilities [B, A], over the actions' outputs [B, A, K]; [B, K]."""
        ...


class ScalarValues:
    """One output per action, its value: plain Q-learning (Mnih et al. 2015)."""

    outputs = 1

    def __init__(self, loss: str) -> None:
        self.loss = LOSSES[loss]

    def q(self, output: Tensor) -> Tensor:
        return output.squeeze(-1)

    def expected(self, output: Tensor, policy: Tensor) -> Tensor:
        return mean_over(output, policy)

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        prediction, target = output.squeeze(-1), td_target(reward, discount, next_output.squeeze(-1))
        return self.loss(prediction, target), (target - prediction.detach()).abs()


class RescaledValues:
    """One output per action, its value rescaled by h, which compresses large ones (R2D2, Kapturowski et al. 2019)."""

    outputs = 1

    def __init__(self, loss: str) -> None:
        self.loss = LOSSES[loss]

    def q(self, output: Tensor) -> Tensor:
        return unscale(output.squeeze(-1))

    def expected(self, output: Tensor, policy: Tensor) -> Tensor:
        return rescale(mean_over(unscale(output), policy))

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        prediction = output.squeeze(-1)
        target = rescale(td_target(reward, discount, unscale(next_output.squeeze(-1))))
        return self.loss(prediction, target), (target - prediction.detach()).abs()


class CategoricalValues:
    """Logits of a distribution over K returns from v_min to v_max (C51, Bellemare et al. 2017, algorithm 1).

    The error is the Kullback-Leibler divergence, by which Rainbow prioritizes (Hessel et al. 2018).
    """

    def __init__(self, *, atoms: int, v_min: float, v_max: float, device: torch.device) -> None:
        self.outputs = atoms
        self.support = torch.linspace(v_min, v_max, atoms, device=device)  # [K]

    def q(self, output: Tensor) -> Tensor:
        return output.softmax(-1) @ self.support

    def expected(self, output: Tensor, policy: Tensor) -> Tensor:
        """The logits of the mixture of the actions' distributions."""
        return (policy.log().unsqueeze(2) + output.log_softmax(2)).logsumexp(1)

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        target = categorical_projection(next_output.softmax(1), reward, discount, self.support)  # [B, K]
        loss = -(target * output.log_softmax(1)).sum(1)
        entropy = -torch.special.xlogy(target, target).sum(1)
        return loss, (loss.detach() - entropy).clamp_(min=0.0)


class QuantileValues:
    """Values at the midpoints of K equal shares of probability (QR-DQN, Dabney et al. 2018, algorithm 1)."""

    def __init__(self, *, quantiles: int, kappa: float, device: torch.device) -> None:
        self.outputs, self.kappa = quantiles, kappa
        self.tau = ((torch.arange(quantiles, device=device) + 0.5) / quantiles).unsqueeze(0)  # [1, K]

    def q(self, output: Tensor) -> Tensor:
        return output.mean(-1)

    def expected(self, output: Tensor, policy: Tensor) -> Tensor:
        return mean_over(output, policy)

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        target = td_target(reward.unsqueeze(1), discount.unsqueeze(1), next_output)  # [B, K]
        error = (target.mean(1) - output.detach().mean(1)).abs()
        return quantile_huber(output, target, self.tau, kappa=self.kappa), error


class ImplicitValues:
    """Values at K fractions that `ImplicitHead` drew, [..., 2K] (IQN, Dabney et al. 2018b, eq. 3)."""

    outputs = 1

    def __init__(self, *, kappa: float) -> None:
        self.kappa = kappa

    def q(self, output: Tensor) -> Tensor:
        return output.chunk(2, -1)[0].mean(-1)

    def expected(self, output: Tensor, policy: Tensor) -> Tensor:
        return mean_over(output, policy)

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        prediction, tau = output.chunk(2, 1)  # [B, K] each
        target = td_target(reward.unsqueeze(1), discount.unsqueeze(1), next_output.chunk(2, 1)[0])
        error = (target.mean(1) - prediction.detach().mean(1)).abs()
        return quantile_huber(prediction, target, tau.detach(), kappa=self.kappa), error
