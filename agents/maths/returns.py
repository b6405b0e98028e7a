"""Returns and advantages as functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

Number = float | Tensor
LOOP_UP_TO = 16
"""Steps up to which a loop over time is as fast as doubling, on the CPU."""


def linear_recurrence(x: Tensor, a: Tensor) -> Tensor:
    """y_t = x_t + a_t * y_{t+1} with nothing after the last step; all [T, ...].

    Each pass doubles the steps that y_t already sums (Hillis & Steele 1986): ceil(log2(T)) passes over all of time.
    """
    if len(x) <= LOOP_UP_TO and x.device.type == "cpu":
        return _one_by_one(x, a)
    reach, a = 1, a[:-1]
    while reach < len(x):
        x = torch.cat([torch.addcmul(x[:-reach], a, x[reach:]), x[-reach:]])
        a = a[:-reach] * a[reach:]  # [T - 2 reach, ...], the weight of y this many steps earlier
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

    At a boundary, and after the last step, the value of the successor replaces the return that follows.
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

    `log_ratio` is log(pi(a|x) / mu(a|x)) of the learning and the acting policy. If they are equal, targets are
    `lambda_returns` and advantages are those of `gae`: the target that follows an action counts `lam`, the value of the
    successor the rest.
    """
    ratio = log_ratio.exp()
    delta = reward + discount * next_value - value
    carried = discount * lam * ~boundary
    above = linear_recurrence(ratio.clamp(max=rho_clip) * delta, carried * ratio.clamp(max=c_clip))  # target - value
    following = torch.cat([above[1:], torch.zeros_like(above[:1])])
    return value + above, ratio.clamp(max=pg_rho_clip) * (delta + carried * following)
