"""Losses and targets: tensors in, tensors out; they run eagerly, compiled or in a captured graph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PAIRS = 64 * 64
"""From this number of quantile pairs per sample, sorting is faster than comparing all, on the CPU."""


def td_target(reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """Target r + discount * v'; all [B]. `discount` is gamma**n, or 0 after a terminal state (Sutton 1988)."""
    return torch.addcmul(reward, discount, next_value)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error (y - x)**2, elementwise."""
    return functional.mse_loss(prediction, target, reduction="none")


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """e**2 / 2 for an error |e| <= 1 and |e| - 1/2 beyond, elementwise: a gradient of at most 1 (Huber 1964).

    It is the error clipping of Mnih et al. 2015 (Methods).
    """
    return functional.huber_loss(prediction, target, reduction="none")


def chosen(output: Tensor, action: Tensor) -> Tensor:
    """The outputs of one action per row: [B, A, K] and int64 [B] to [B, K]."""
    return output.gather(1, action.view(-1, 1, 1).expand(-1, 1, output.shape[2])).squeeze(1)


def allowed(q: Tensor, mask: Tensor | None) -> Tensor:
    """Values [B, A] with -inf for actions that the mask (bool [B, A], None allows all) forbids."""
    return q if mask is None else q.masked_fill(~mask, -torch.inf)


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of weight * loss; both [B]."""
    return loss.dot(weight / len(weight))


def categorical_projection(probability: Tensor, reward: Tensor, discount: Tensor, support: Tensor) -> Tensor:
    """The distribution of r + discount * z projected onto the support; [B, K], [B], [B], [K] to [B, K].

    Each atom's mass is split between its two neighbours in proportion to its nearness to them (Bellemare et al. 2017,
    eq. 7), so that rows sum to 1 and an atom that falls on another one needs no special case.
    """
    last = len(support) - 1
    low, spacing = support[0], (support[-1] - support[0]) / last
    moved = reward.unsqueeze(1) + discount.unsqueeze(1) * support  # [B, K]
    position = ((moved - low) / spacing).clamp(0, last)  # in units of atoms
    if probability.device.type != "cpu":
        return _gathered(probability, position)
    lower = position.long().clamp_(0, last - 1)  # a valid index even if the position is NaN
    upper_mass = probability * (position - lower)
    projected = torch.zeros_like(probability).scatter_add_(1, lower, probability - upper_mass)
    return projected.scatter_add_(1, lower + 1, upper_mass)


def _gathered(probability: Tensor, position: Tensor) -> Tensor:
    """The mass near each atom, from all pairs of atoms: for devices that add scattered numbers in any order."""
    atoms = torch.arange(position.shape[1], device=position.device)
    distance = (position.unsqueeze(1) - atoms.unsqueeze(1)).abs()  # [B, to, from]
    return ((1.0 - distance).clamp(min=0.0) * probability.unsqueeze(1)).sum(2)


def quantile_huber(prediction: Tensor, target: Tensor, tau: Tensor, *, kappa: float) -> Tensor:
    """Quantile regression with the Huber loss; [B, K], [B, K'], [1 or B, K] to [B].

    Summed over the predicted quantiles at fractions tau, averaged over the target's (Dabney et al. 2018, algorithm 1).
    As in Dabney et al. 2018b, eq. 3, it is divided by `kappa`, so that it tends to the plain quantile loss, which
    `kappa` 0 gives.
    """
    if prediction.device.type == "cpu" and prediction.shape[1] * target.shape[1] > PAIRS:
        return _sorted_quantile_huber(prediction, target.detach(), tau, kappa=kappa)
    return _pairwise_quantile_huber(prediction, target, tau, kappa=kappa)


def _pairwise_quantile_huber(prediction: Tensor, target: Tensor, tau: Tensor, *, kappa: float) -> Tensor:
    predictions = prediction.unsqueeze(2).expand(-1, -1, target.shape[1])  # [B, K, K']
    targets = target.unsqueeze(1).expand_as(predictions)
    if kappa == 0.0:
        size = functional.l1_loss(predictions, targets, reduction="none")
    else:
        size = functional.huber_loss(predictions, targets, reduction="none", delta=kappa) / kappa
    fraction = tau.unsqueeze(2)
    return (torch.where(targets < predictions, 1.0 - fraction, fraction) * size).mean(2).sum(1)


def _sorted_quantile_huber(prediction: Tensor, target: Tensor, tau: Tensor, *, kappa: float) -> Tensor:
    """The same from sums over the sorted targets: K log K' steps instead of K K', with float64 sums.

    Over the targets in one of the loss's four pieces (further below than kappa, below, above, further above) it is a
    quadratic function of the prediction, whose coefficients are counts, sums and sums of squares of those targets.
    """
    theta, tau, count = prediction.double(), tau.double(), target.shape[1]
    with torch.no_grad():
        values = target.double().sort(1).values
        edges = torch.searchsorted(values, torch.cat([theta - kappa, theta, theta + kappa], 1))  # targets below each
        sums, squares = (functional.pad(power.cumsum(1), (1, 0)) for power in (values, values.square()))
        low, middle, high = edges.chunk(3, 1)
        sum_low, sum_middle, sum_high = sums.gather(1, edges).chunk(3, 1)
        linear = (1.0 - tau) * low - tau * (count - high)
        constant = tau * (sums[:, -1:] - sum_high) - (1.0 - tau) * sum_low
        constant -= 0.5 * kappa * (tau * (count - high) + (1.0 - tau) * low)
        quadratic = torch.zeros_like(linear)
        if kappa > 0.0:
            below, above = (1.0 - tau) / kappa, tau / kappa
            square_low, square_middle, square_high = squares.gather(1, edges).chunk(3, 1)
            quadratic += 0.5 * (below * (middle - low) + above * (high - middle))
            linear -= below * (sum_middle - sum_low) + above * (sum_high - sum_middle)
            constant += 0.5 * (below * (square_middle - square_low) + above * (square_high - square_middle))
    return ((quadratic * theta + linear) * theta + constant).sum(1).div(count).to(prediction.dtype)


def rescale(value: Tensor, *, eps: float = 1e-3) -> Tensor:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + eps x, elementwise (Pohlen et al. 2018, proposition A.2)."""
    return value.sign() * ((value.abs() + 1.0).sqrt() - 1.0) + eps * value


def unscale(value: Tensor, *, eps: float = 1e-3) -> Tensor:
    """The inverse of `rescale`, elementwise (Pohlen et al. 2018, proposition A.2)."""
    shifted = value.abs() + 1.0 + eps
    # (sqrt(1 + 4 eps a) - 1) / (2 eps), without subtracting two nearly equal numbers.
    root = 2.0 * shifted / (1.0 + (1.0 + 4.0 * eps * shifted).sqrt())
    return value.sign() * (root.square() - 1.0)
