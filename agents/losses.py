"""Losses and targets: tensors in, tensors out; they run eagerly, compiled and in a captured graph alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
    """Values [B, A] with -inf where the mask (bool [B, A], None allows all) says that an action may not be taken."""
    return q if mask is None else q.masked_fill(~mask, -torch.inf)


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of weight * loss; both [B]."""
    return loss.dot(weight / len(weight))


def categorical_projection(probability: Tensor, reward: Tensor, discount: Tensor, support: Tensor) -> Tensor:
    """The distribution of r + discount * z on the support again; [B, K], [B], [B], [K] to [B, K].

    Each atom's mass is split between its two neighbours in proportion to its nearness to them (Bellemare et al. 2017,
    eq. 7): the triangular kernel 1 - |distance|, which needs no case for an atom that falls on another one.
    """
    last = len(support) - 1
    low, spacing = support[0], (support[-1] - support[0]) / last
    moved = reward.unsqueeze(1) + discount.unsqueeze(1) * support  # [B, K]
    # Positions counted in atoms: their distances to whole numbers are exact in floating point, so rows sum to 1.
    position = ((moved - low) / spacing).clamp(0, last)
    distance = (
        position.unsqueeze(1) - torch.arange(last + 1, device=support.device).unsqueeze(1)
    ).abs()  # [B, to, from]
    return torch.einsum("bij,bj->bi", (1.0 - distance).clamp(min=0.0), probability)


def quantile_huber(prediction: Tensor, target: Tensor, tau: Tensor, *, kappa: float) -> Tensor:
    """Quantile regression with the Huber loss (Dabney et al. 2018, eq. 10); [B, K], [B, K'], [1 or B, K] to [B].

    Summed over the predicted quantiles at fractions tau, averaged over the target's; `kappa` 0 is the plain quantile
    loss.
    """
    error = target.unsqueeze(1) - prediction.unsqueeze(2)  # [B, K, K']
    size = error.abs()
    huberised = size if kappa == 0.0 else torch.where(size <= kappa, 0.5 * error**2 / kappa, size - 0.5 * kappa)
    return ((tau.unsqueeze(2) - (error.detach() < 0).float()).abs() * huberised).mean(2).sum(1)


def rescale(value: Tensor, *, eps: float = 1e-3) -> Tensor:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + eps x, elementwise (Pohlen et al. 2018, proposition A.2)."""
    return value.sign() * ((value.abs() + 1.0).sqrt() - 1.0) + eps * value


def unscale(value: Tensor, *, eps: float = 1e-3) -> Tensor:
    """The inverse of `rescale`, elementwise (Pohlen et al. 2018, proposition A.2)."""
    root = ((1.0 + 4.0 * eps * (value.abs() + 1.0 + eps)).sqrt() - 1.0) / (2.0 * eps)
    return value.sign() * (root.square() - 1.0)
