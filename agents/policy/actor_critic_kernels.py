"""An actor-critic's estimates and the gradient of its loss in closed form, compiled for the CPU.

What small networks spend on their loss is the time of a hundred calls of torch for a few thousand numbers. These
functions give the same numbers as `policy_gradient` and autograd do, which tests hold them to.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gymnast.agents.maths.policy_gradient import ROUNDING

Array = NDArray[Any]
HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


@njit(cache=True)
def estimate(
    reward: Array,
    terminated: Array,
    ended: Array,
    value: Array,
    last_value: Array,
    final_value: Array,
    log_prob: Array,
    weight: Array,
    gamma: float,
    lam: float,
) -> tuple[Array, float]:
    """`Samples.numbers` of each step, [T, N, 5], by GAE, and the explained variance; all but the last are [T, N].

    `value` is that of the observation, `final_value` that of the successor where an episode ended; `last_value` [N]
    is that of the successor of the last step.
    """
    steps, rows = reward.shape
    numbers = np.empty((steps, rows, 5), np.float32)
    for n in range(rows):
        advantage, following = 0.0, last_value[n]
        for t in range(steps - 1, -1, -1):
            carried = 0.0 if ended[t, n] else gamma * lam
            after = final_value[t, n] if ended[t, n] else following
            bootstrap = 0.0 if terminated[t, n] else gamma * after
            advantage = reward[t, n] + bootstrap - value[t, n] + carried * advantage
            numbers[t, n, 0], numbers[t, n, 1], numbers[t, n, 2] = log_prob[t, n], advantage, weight[t, n]
            numbers[t, n, 3], numbers[t, n, 4] = value[t, n], advantage + value[t, n]
            following = value[t, n]
    return numbers, _explained(numbers.reshape(-1, 5))


@njit(cache=True)
def _explained(numbers: Array) -> float:
    _, _, unexplained = _moments(numbers[:, 1], numbers[:, 2])
    _, _, variance = _moments(numbers[:, 4], numbers[:, 2])
    return 1.0 - unexplained / variance if variance > 0.0 else 0.0


@njit(cache=True)
def _moments(values: Array, count: Array) -> tuple[float, float, float]:
    """What one count weighs, mean and variance; a variance that is but rounding is 0."""
    total = max(count.sum(), 1.0)
    mean = square = 0.0
    for i in range(len(values)):
        mean += count[i] * values[i] / total
    for i in range(len(values)):
        square += count[i] * (values[i] - mean) ** 2 / total
    return 1.0 / total, mean, square if square > (ROUNDING * mean) ** 2 else 0.0


@njit(cache=True)
def _slopes(
    log_prob: Array,
    value: Array,
    numbers: Array,
    clip: float,
    value_clip: float,
    value_coef: float,
    normalise: bool,
    by_log_prob: Array,
    value_grad: Array,
    log_ratio: Array,
) -> tuple[float, float, float]:
    """Policy and value loss and the weight of one count; fills the loss's slopes by log-probabilities and values.

    A `clip` or `value_clip` below 0 stands for none.
    """
    share, mean, variance = _moments(numbers[:, 1], numbers[:, 2])
    scale = 1.0 / (math.sqrt(variance) + 1e-8) if variance > 0.0 else 0.0
    policy_loss = value_loss = 0.0
    for i in range(len(numbers)):
        weight, advantage, old_value, target = numbers[i, 2] * share, numbers[i, 1], numbers[i, 3], numbers[i, 4]
        if normalise:
            advantage = (advantage - mean) * scale
        log_ratio[i] = log_prob[i] - numbers[i, 0]
        if weight == 0.0:  # such rows may hold anything
            by_log_prob[i] = value_grad[i] = 0.0
            continue
        if clip >= 0.0:
            ratio = math.exp(log_ratio[i])
            kept = min(max(ratio, 1.0 - clip), 1.0 + clip)
            policy_loss -= weight * min(ratio * advantage, kept * advantage)
            by_log_prob[i] = 0.0 if kept * advantage < ratio * advantage else -weight * advantage * ratio
        else:
            policy_loss -= weight * advantage * log_prob[i]
            by_log_prob[i] = -weight * advantage
        error = value[i] - target
        moved = value[i] - old_value
        near = old_value + min(max(moved, -value_clip), value_clip) - target
        if 0.0 <= value_clip < abs(moved) and near * near > error * error:
            value_loss += 0.5 * weight * near * near
            value_grad[i] = 0.0
        else:
            value_loss += 0.5 * weight * error * error
            value_grad[i] = value_coef * weight * error
    return policy_loss, value_loss, share


@njit(cache=True)
def categorical(
    output: Array,
    value: Array,
    raw: Array,
    numbers: Array,
    clip: float,
    value_clip: float,
    value_coef: float,
    entropy_coef: float,
    normalise: bool,
    output_grad: Array,
    value_grad: Array,
    log_ratio: Array,
) -> tuple[float, float, float, float]:
    """Loss, policy loss, value loss and entropy of logits [B, A] and values [B], and the gradients by both."""
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
    policy_loss, value_loss, share = _slopes(
        log_prob, value, numbers, clip, value_clip, value_coef, normalise, by_log_prob, value_grad, log_ratio
    )
    spread = 0.0
    for i in range(rows):
        weight = numbers[i, 2] * share
        spread += weight * entropy[i]
        for a in range(actions):
            p = math.exp(log_probability[i, a])
            bonus = entropy_coef * weight * p * (log_probability[i, a] + entropy[i])
            output_grad[i, a] = bonus - by_log_prob[i] * p
        output_grad[i, raw[i]] += by_log_prob[i]
    return policy_loss + value_coef * value_loss - entropy_coef * spread, policy_loss, value_loss, spread


@njit(cache=True)
def gaussian(
    output: Array,
    value: Array,
    raw: Array,
    numbers: Array,
    clip: float,
    value_clip: float,
    value_coef: float,
    entropy_coef: float,
    normalise: bool,
    output_grad: Array,
    value_grad: Array,
    log_ratio: Array,
) -> tuple[float, float, float, float]:
    """As `categorical`, for means and log standard deviations [B, 2 D]."""
    rows, size = raw.shape
    log_prob, by_log_prob, spread = np.zeros(rows), np.empty(rows), 0.0
    for i in range(rows):
        for d in range(size):
            distance = (raw[i, d] - output[i, d]) * math.exp(-output[i, size + d])
            log_prob[i] -= 0.5 * distance * distance + output[i, size + d] + HALF_LOG_2_PI
    policy_loss, value_loss, share = _slopes(
        log_prob, value, numbers, clip, value_clip, value_coef, normalise, by_log_prob, value_grad, log_ratio
    )
    for i in range(rows):
        weight = numbers[i, 2] * share
        for d in range(size):
            precision = math.exp(-output[i, size + d])
            distance = (raw[i, d] - output[i, d]) * precision
            spread += weight * (output[i, size + d] + 0.5 + HALF_LOG_2_PI)
            output_grad[i, d] = by_log_prob[i] * distance * precision
            output_grad[i, size + d] = by_log_prob[i] * (distance * distance - 1.0) - entropy_coef * weight
    return policy_loss + value_coef * value_loss - entropy_coef * spread, policy_loss, value_loss, spread
