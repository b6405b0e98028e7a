"""Targets and losses of actor-critics that learn off-policy: tensors in, tensors out.

Axes: M critics, B rows, A choices (1 where the action is an input of the critic), K outputs of a critic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.agents.maths.td import quantile_huber, td_target


def squashed_log_prob(noise: Tensor, log_std: Tensor, raw: Tensor) -> Tensor:
    """Log-density [B] of tanh(raw) in [-1, 1]^D, where raw = mean + std * noise is normal; all [B, D].

    The logarithm of the Jacobian is log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)) (Haarnoja et al. 2018,
    appendix C), which is finite for every finite u.
    """
    half_log_2_pi = 0.9189385332046727
    log_two = 0.6931471805599453
    normal = -(0.5 * noise.square() + log_std + half_log_2_pi)
    slope = 2.0 * (log_two - raw - torch.nn.functional.softplus(-2.0 * raw))
    return (normal - slope).sum(-1)


def soft_value(q: Tensor, probability: Tensor, log_prob: Tensor, temperature: Tensor) -> Tensor:
    """Expected action value plus temperature * entropy of a policy; [B, A], [B, A], [B, A], [] to [B].

    Exact over choices (Christodoulou 2019, eq. 10); with A = 1, probability 1 and the log-density of a drawn action it
    is an estimate of it (Haarnoja et al. 2018, eq. 3).
    """
    return (probability * (q - temperature * log_prob)).sum(1)


def truncated(quantiles: Tensor, drop: int) -> Tensor:
    """The quantiles of all critics in ascending order, without the `drop` * M largest; [M, B, K] to [B, M (K - drop)].

    Kuznetsov et al. 2020 (TQC), eq. 10.
    """
    members, rows, count = quantiles.shape
    pooled = quantiles.transpose(0, 1).reshape(rows, members * count)
    return pooled.sort(1).values[:, : members * (count - drop)]


def critic_loss(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error summed over critics [B], and mean absolute error [B], of values [M, B, 1] and targets [B, 1]."""
    error = prediction.squeeze(2) - target.squeeze(1)
    return error.square().sum(0), error.detach().abs().mean(0)


def quantile_critic_loss(prediction: Tensor, target: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Quantile Huber loss summed over critics, averaged over their quantiles [B], and mean absolute error [B].

    Quantiles [M, B, K] at the fractions `tau` [1, K], and targets [B, K'] (Kuznetsov et al. 2020, eq. 12).
    """
    loss = torch.stack([quantile_huber(one, target, tau, kappa=1.0) for one in prediction]).sum(0) / prediction.shape[2]
    return loss, (prediction.detach().mean((0, 2)) - target.mean(1)).abs()


def bootstrapped(reward: Tensor, discount: Tensor, value: Tensor) -> Tensor:
    """Targets [B, K] of rewards [B], discounts [B] and the values that follow [B, K]."""
    return td_target(reward.unsqueeze(1), discount.unsqueeze(1), value)


def temperature_slope(entropy: Tensor, target: float) -> Tensor:
    """Gradient [] of the temperature's loss by its logarithm: the excess of a policy's entropy [B] over its target.

    The loss is Haarnoja et al. 2018b, eq. 18, in the form that its authors published, log(temperature) * excess.
    """
    return entropy.mean() - target


def smallest(values: Tensor) -> Tensor:
    """The smallest of M values, [M, ...] to [...], faster than `amin` for few."""
    first, *others = values.unbind()
    for other in others:
        first = torch.minimum(first, other)
    return first
