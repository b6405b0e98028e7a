"""The maths of policy gradients: returns, advantages and losses as functions of tensors.

Time is the first axis, T; N are rows of an environment, B any rows. `discount` is gamma * (1 - terminated): truncation
keeps the bootstrap. `boundary` marks steps that ended an episode in either way, over which nothing is carried.
The `weight` of rows that count sums to 1 in losses and means (`shares` makes it so); rows of weight 0 may hold any
finite number.
"""

from __future__ import annotations

import torch
from torch import Tensor

Number = float | Tensor
LOOP_UP_TO = 16
"""Steps up to which a loop over time is as fast as doubling, on the CPU."""
ROUNDING = 1e-6
"""Of a mean: deviations smaller than it come of rounding alone."""


def linear_recurrence(x: Tensor, a: Tensor) -> Tensor:
    """y_t = x_t + a_t * y_{t+1} with nothing after the last step; all [T, ...].

    Each pass doubles the steps that y_t already sums (Hillis & Steele 1986): ceil(log2(T)) passes over all of time.
    """
    if len(x) <= LOOP_UP_TO and x.device.type == "cpu":
        return _one_by_one(x, a)
    reach, a = 1, a[:-1]
    while reach < len(x):
        x = torch.cat([torch.addcmul(x[:-reach], a, x[reach:]), x[-reach:]])
        a = a[:-reach] * a[reach:]  # [T - 2 reach, ...], what y is worth so many steps earlier
        reach *= 2
    return x


def _one_by_one(x: Tensor, a: Tensor) -> Tensor:
    *earlier, following = x.unbind(0)
    sums = [following]
    for x_t, a_t in zip(reversed(earlier), reversed(a[:-1].unbind(0)), strict=True):
        following = torch.addcmul(x_t, a_t, following)
        sums.append(following)
    return torch.stack(sums[::-1])


def discounted_returns(reward: Tensor, discount: Tensor, last_value: Tensor) -> Tensor:
    """r_t + discount_t * G_{t+1}, and after the last step `last_value` [N]; [T, N] (Sutton & Barto 2018, eq. 3.9)."""
    last = torch.addcmul(reward[-1:], discount[-1:], last_value.unsqueeze(0))
    return linear_recurrence(torch.cat([reward[:-1], last]), discount)


def gae(reward: Tensor, discount: Tensor, value: Tensor, next_value: Tensor, boundary: Tensor, lam: Number) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16); all [T, N].

    `next_value` is the value of the true successor, the final observation of an episode included.
    """
    delta = reward + discount * next_value - value
    return linear_recurrence(delta, discount * lam * ~boundary)


def lambda_returns(reward: Tensor, discount: Tensor, next_value: Tensor, boundary: Tensor, lam: Number) -> Tensor:
    """G_t = r_t + discount_t * ((1 - lam) * v_{t+1} + lam * G_{t+1}) (Sutton & Barto 2018, eq. 12.18); all [T, N].

    At a boundary, and after the last step, the value of the successor stands for the return that follows.
    """
    carried = discount * lam * ~boundary
    carried = torch.cat([carried[:-1], torch.zeros_like(carried[-1:])])
    return linear_recurrence(reward + (discount - carried) * next_value, carried)


def vtrace(
    log_ratio: Tensor,
    reward: Tensor,
    discount: Tensor,
    value: Tensor,
    next_value: Tensor,
    boundary: Tensor,
    *,
    lam: Number = 1.0,
    rho_clip: float = 1.0,
    c_clip: float = 1.0,
    pg_rho_clip: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """V-trace targets and advantages (Espeholt et al. 2018, eq. 1 and section 4.2); all [T, N].

    `log_ratio` is log(pi(a|x) / mu(a|x)) of the policy that learns and the one that acted. Where they are the same,
    targets are `lambda_returns` and advantages are those of `gae`: the target that follows an action counts `lam`,
    the value of the successor the rest.
    """
    ratio = log_ratio.exp()
    delta = reward + discount * next_value - value
    carried = discount * lam * ~boundary
    above = linear_recurrence(ratio.clamp(max=rho_clip) * delta, carried * ratio.clamp(max=c_clip))  # target - value
    following = torch.cat([above[1:], torch.zeros_like(above[:1])])
    return value + above, ratio.clamp(max=pg_rho_clip) * (delta + carried * following)


def shares(count: Tensor) -> Tensor:
    """Weights [B] that sum to 1, in proportion to counts (1 for rows that count, else 0); all 0 where none counts."""
    return count / count.sum().clamp(min=1.0)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean [] of values [B] by weights that sum to 1."""
    return torch.dot(values, weight)


def normalised(advantage: Tensor, weight: Tensor, *, eps: float = 1e-8) -> Tensor:
    """Advantages [B] shifted and scaled to mean 0 and variance 1 of those that count; 0 where all are the same."""
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
    ratio = torch.where(weight > 0, log_prob - old_log_prob, 0.0).exp()  # 0 times infinity is no number
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)  # type: ignore[arg-type]
    return -weighted_mean(torch.minimum(ratio * advantage, clipped * advantage), weight)


def value_loss(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Half the squared error, averaged; [B] to []."""
    return 0.5 * weighted_mean((value - target).square(), weight)


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: Number, weight: Tensor) -> Tensor:
    """`value_loss`, or that of the value kept within `clip` of the old one where it is larger; [B] to [].

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
    """Share of rows [B] whose ratio of probabilities lies outside 1 - clip and 1 + clip; []."""
    return weighted_mean((log_ratio.expm1().abs() > clip).float(), weight)


def explained_variance(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - Var(target - value) / Var(target) over the rows that count; []. 0 where the target does not vary."""
    (_, unexplained), (_, variance) = _spread(target - value, weight), _spread(target, weight)
    return torch.where(variance > 0, 1.0 - unexplained / variance.clamp(min=1e-30), 0.0)


def _spread(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [B] to the mean and variance [] of those that count, 0 where it is but the rounding of the mean."""
    mean = (values * weight).sum()  # torch.dot is off by more than `ROUNDING` from 1,000 rows on
    centred = values - mean
    variance = weighted_mean(centred.square(), weight)
    return centred, torch.where(variance > (ROUNDING * mean).square(), variance, 0.0)
