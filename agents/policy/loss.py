"""The loss of PPO and A2C: the plain one, and the same compiled with its gradient.

`actor_critic_loss` is the definition, for every network, distribution and device. `categorical` and `gaussian` are its
closed form, values and gradient, for small networks on the CPU, where torch would spend a hundred calls on a few
thousand numbers. Tests compare them with the plain loss and autograd (`python benchmarks/fast.py` compares the times).
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths import policy_gradient
from gymnast.agents.maths.moments import moments
from gymnast.agents.samples import Behaviour

Array = NDArray[Any]
HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


def actor_critic_loss(
    log_prob: Tensor,
    value: Tensor,
    *,
    entropy: Tensor,
    old: Behaviour,
    weight: Tensor,
    clip: Tensor | None,
    value_clip: Tensor | None,
    value_coef: float,
    entropy_coef: Tensor,
    normalise: bool,
) -> tuple[Tensor, Tensor, Metrics]:
    """Loss [], log-ratio of the policies for each row [B], and metrics (Schulman et al. 2017, eq. 9).

    Log-probabilities and entropies are [B], values [B, V], whose losses are summed; weights [B] sum to 1. A `clip` of
    None means the plain policy gradient, a `value_clip` of None the squared error. `normalise` scales advantages to
    mean 0 and variance 1.
    """
    advantage = policy_gradient.normalised(old.advantage, weight) if normalise else old.advantage
    if clip is None:
        policy = policy_gradient.policy_gradient_loss(log_prob, advantage, weight)
    else:
        policy = policy_gradient.clipped_surrogate(log_prob, old.log_prob, advantage, clip, weight)
    value_loss = values_loss(value, old=old, weight=weight, value_clip=value_clip)
    spread = policy_gradient.entropy_loss(entropy, weight)
    loss = policy + value_coef * value_loss + entropy_coef * spread
    metrics = {"loss": loss, "policy_loss": policy, "value_loss": value_loss, "entropy": -spread}
    metrics = {name: number.detach() for name, number in metrics.items()}
    return loss, log_prob.detach() - old.log_prob, metrics


def values_loss(value: Tensor, *, old: Behaviour, weight: Tensor, value_clip: Tensor | None) -> Tensor:
    """Loss [] of values [B, V], the sum over V; a `value_clip` of None means the squared error, halved."""
    losses = []
    for now, before, target in zip(value.unbind(1), old.value.unbind(1), old.target.unbind(1), strict=True):
        if value_clip is None:
            losses.append(policy_gradient.value_loss(now, target, weight))
        else:
            losses.append(policy_gradient.clipped_value_loss(now, before, target, value_clip, weight))
    return reduce(torch.add, losses)


class Coefficients(NamedTuple):
    """The numbers of a compiled loss; a `clip` or `value_clip` below 0 means None."""

    clip: float
    value_clip: float
    value_coef: float
    entropy_coef: float
    normalise: bool


class Slopes(NamedTuple):
    """Outputs of a compiled loss: its gradients by outputs [B, P] and values [B, 1], and log-ratios [B]."""

    output: Array
    value: Array
    log_ratio: Array


@njit(cache=True)
def loss_of(
    output: Array, value: Array, raw: Array, old: Any, count: Array, by: Coefficients, slopes: Slopes
) -> tuple[float, float, float, float]:
    """`categorical` or `gaussian`, by the shape of actions."""
    if raw.ndim == 1:
        return categorical(output, value, raw, old, count, by, slopes)
    return gaussian(output, value, raw, old, count, by, slopes)


@njit(cache=True)
def categorical(
    output: Array, value: Array, raw: Array, old: Any, count: Array, by: Coefficients, slopes: Slopes
) -> tuple[float, float, float, float]:
    """Loss, policy loss, value loss and entropy of logits [B, A] and values [B, 1]; fills the slopes.

    `raw` [B] are the actions, `old` is a `Behaviour` of arrays, `count` [B] is 1 for rows that count, else 0.
    """
    rows, actions = output.shape
    log_probability, entropy = np.empty((rows, actions)), np.zeros(rows)
    log_prob, by_log_prob = np.empty(rows), np.empty(rows)
    for i in range(rows):
        largest = output[i].max()
        total = 0.0
        for a in range(actions):
            total += math.exp(output[i, a] - largest)
        for a in range(actions):
            log_probability[i, a] = output[i, a] - largest - math.log(total)
            entropy[i] -= math.exp(log_probability[i, a]) * log_probability[i, a]
        log_prob[i] = log_probability[i, raw[i]]
    policy_loss, value_loss, share = _of_rows(log_prob, value, old, count, by, by_log_prob, slopes)
    spread = 0.0
    for i in range(rows):
        weight = count[i] * share
        spread += weight * entropy[i]
        for a in range(actions):
            p = math.exp(log_probability[i, a])
            bonus = by.entropy_coef * weight * p * (log_probability[i, a] + entropy[i])
            slopes.output[i, a] = bonus - by_log_prob[i] * p
        slopes.output[i, raw[i]] += by_log_prob[i]
    return policy_loss + by.value_coef * value_loss - by.entropy_coef * spread, policy_loss, value_loss, spread


@njit(cache=True)
def gaussian(
    output: Array, value: Array, raw: Array, old: Any, count: Array, by: Coefficients, slopes: Slopes
) -> tuple[float, float, float, float]:
    """Like `categorical`, for means and log standard deviations [B, 2 D] and actions [B, D]."""
    rows, size = raw.shape
    log_prob, by_log_prob, spread = np.zeros(rows), np.empty(rows), 0.0
    for i in range(rows):
        for d in range(size):
            distance = (raw[i, d] - output[i, d]) * math.exp(-output[i, size + d])
            log_prob[i] -= 0.5 * distance * distance + output[i, size + d] + HALF_LOG_2_PI
    policy_loss, value_loss, share = _of_rows(log_prob, value, old, count, by, by_log_prob, slopes)
    for i in range(rows):
        weight = count[i] * share
        for d in range(size):
            precision = math.exp(-output[i, size + d])
            distance = (raw[i, d] - output[i, d]) * precision
            spread += weight * (output[i, size + d] + 0.5 + HALF_LOG_2_PI)
            slopes.output[i, d] = by_log_prob[i] * distance * precision
            slopes.output[i, size + d] = by_log_prob[i] * (distance * distance - 1.0) - by.entropy_coef * weight
    return policy_loss + by.value_coef * value_loss - by.entropy_coef * spread, policy_loss, value_loss, spread


@njit(cache=True)
def _of_rows(
    log_prob: Array, value: Array, old: Any, count: Array, by: Coefficients, by_log_prob: Array, slopes: Slopes
) -> tuple[float, float, float]:
    """Policy and value loss and the weight of one count; fills the slopes by log-probabilities and values."""
    share, mean, variance = moments(old.advantage, count)
    scale = 1.0 / (math.sqrt(variance) + 1e-8) if variance > 0.0 else 0.0
    policy_loss = value_loss = 0.0
    for i in range(len(count)):
        weight, advantage = count[i] * share, old.advantage[i]
        if by.normalise:
            advantage = (advantage - mean) * scale
        slopes.log_ratio[i] = log_prob[i] - old.log_prob[i]
        if weight == 0.0:  # such rows may hold anything
            by_log_prob[i] = slopes.value[i, 0] = 0.0
            continue
        loss, by_log_prob[i] = _policy_term(log_prob[i], slopes.log_ratio[i], advantage, weight, by.clip)
        policy_loss += loss
        loss, slopes.value[i, 0] = _value_term(value[i, 0], old.value[i, 0], old.target[i, 0], weight, by)
        value_loss += loss
    return policy_loss, value_loss, share


@njit(cache=True)
def _policy_term(
    log_prob: float, log_ratio: float, advantage: float, weight: float, clip: float
) -> tuple[float, float]:
    """A row's policy loss, and its slope by the log-probability."""
    if clip < 0.0:
        return -weight * advantage * log_prob, -weight * advantage
    ratio = math.exp(log_ratio)
    kept = min(max(ratio, 1.0 - clip), 1.0 + clip)
    slope = 0.0 if kept * advantage < ratio * advantage else -weight * advantage * ratio
    return -weight * min(ratio * advantage, kept * advantage), slope


@njit(cache=True)
def _value_term(value: float, old_value: float, target: float, weight: float, by: Coefficients) -> tuple[float, float]:
    """A row's value loss, and the slope of the whole loss by the value."""
    error = value - target
    moved = value - old_value
    near = old_value + min(max(moved, -by.value_clip), by.value_clip) - target
    if 0.0 <= by.value_clip < abs(moved) and near * near > error * error:
        return 0.5 * weight * near * near, 0.0
    return 0.5 * weight * error * error, by.value_coef * weight * error
