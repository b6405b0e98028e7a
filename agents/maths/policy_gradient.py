"""The maths of policy gradients: returns, advantages and losses as functions of tensors.

Time is the first axis, T; N are rows of an environment, B any rows. `discount` is gamma * (1 - terminated): truncation
keeps the bootstrap. `boundary` marks steps that ended an episode in either way; nothing is carried over them. In losses
and means the `weight` of rows that count sums to 1 (see `shares`); rows of weight 0 may hold any finite number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.agents.maths.means import _spread, weighted_mean
from gymnast.agents.maths.returns import Number


def normalised(advantage: Tensor, weight: Tensor, *, eps: float = 1e-8) -> Tensor:
    """Advantages [B] shifted and scaled to mean 0 and variance 1 over the rows that count; 0 if all are equal."""
    centred, variance = _spread(advantage, weight)
    return torch.where(variance > 0, centred / (variance.sqrt() + eps), 0.0)


def policy_gradient_loss(log_prob: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """-log pi(a|s) * A, averaged (Williams 1992; Mnih et al. 2016, section 4); [B] to []."""
    return -weighted_mean(log_prob * advantage, weight)


def clipped_surrogate(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: Number, weight: Tensor
) -> Tensor:
    """-min(r * A, clip(r, 1 - clip, 1 + clip) * A), r the ratio of probabilities, averaged; [B] to [].

    Schulman et al. 2017, eq. 7. At r = 1 its gradient is that of `policy_gradient_loss`.
    """
    ratio = torch.where(weight > 0, log_prob - old_log_prob, 0.0).exp()  # 0 times infinity is NaN
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)  # type: ignore[arg-type]
    return -weighted_mean(torch.minimum(ratio * advantage, clipped * advantage), weight)


def value_loss(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Half the squared error, averaged; [B] to []."""
    return 0.5 * weighted_mean((value - target).square(), weight)


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: Number, weight: Tensor) -> Tensor:
    """The larger of `value_loss` and the same loss of the value clipped to within `clip` of the old one; [B] to [].

    As in the code of Schulman et al. 2017.
    """
    near = old_value + (value - old_value).clamp(-clip, clip)  # type: ignore[arg-type]
    return 0.5 * weighted_mean(torch.maximum((value - target).square(), (near - target).square()), weight)


def entropy_loss(entropy: Tensor, weight: Tensor) -> Tensor:
    """Minus the mean entropy [B], to be minimised; []."""
    return -weighted_mean(entropy, weight)


def approx_kl(log_ratio: Tensor, weight: Tensor) -> Tensor:
    """Estimate of KL(old || new) from actions of the old policy, r - 1 - log r: never negative, unbiased; [B] to [].

    `log_ratio` is log(new / old), as in `clip_fraction`.
    """
    log_ratio = torch.where(weight > 0, log_ratio, 0.0)
    return weighted_mean(log_ratio.expm1() - log_ratio, weight)


def clip_fraction(log_ratio: Tensor, clip: Number, weight: Tensor) -> Tensor:
    """Share of rows [B] whose probability ratio is outside [1 - clip, 1 + clip]; []."""
    return weighted_mean((log_ratio.expm1().abs() > clip).float(), weight)
