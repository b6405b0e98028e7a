"""An actor-critic's estimates and the gradient of its loss in closed form, compiled for the CPU.

What small networks spend on their loss is the time of a hundred calls of torch for a few thousand numbers. These
functions give the same numbers as `policy_gradient` and autograd do, which tests hold them to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths.means import ROUNDING
from gymnast.agents.optim.update import Gradient
from gymnast.agents.samples import Samples
from gymnast.networks.distributions.distributions import Categorical, Distribution, Gaussian
from gymnast.networks.fast.policy_backward import PlainActorCritic
from gymnast.replay.rollout import Rollout

if TYPE_CHECKING:
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig

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


KERNELS: dict[type[Distribution], Callable[..., tuple[float, ...]]] = {
    Categorical: categorical,
    Gaussian: gaussian,
}


def estimated(rollout: Rollout, reward: Tensor, last_value: Tensor, config: ActorCriticConfig) -> tuple[Tensor, Tensor]:
    """`Samples.numbers` of a rollout's steps, [T, N, 5], and the explained variance []; one value, by GAE."""
    fields = rollout.fields
    of_steps = (reward, fields["value"], last_value, fields["final_value"])
    rewards, values, last_values, final_values = (part[..., 0].numpy() for part in of_steps)
    numbers, explained = estimate(
        rewards,
        fields["terminated"].numpy(),
        fields["ended"].numpy(),
        values,
        last_values,
        final_values,
        fields["log_prob"].numpy(),
        rollout.weight.numpy(),
        config.gamma,
        config.gae_lambda,
    )
    return torch.from_numpy(numbers), torch.tensor(explained)


class ClosedForm:
    """Writes the gradient of `ActorCritic.loss` for a minibatch, and gives what the loss gives beside it."""

    def __init__(
        self, plain: PlainActorCritic, distribution: Distribution, config: ActorCriticConfig, now: dict[str, Tensor]
    ) -> None:
        self.plain, self.distribution, self.config, self.now = plain, distribution, config, now
        self.kernel = KERNELS[type(distribution)]

    def __call__(self, batch: Samples, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        config, losses = self.config, tuple[float, ...]()
        clip, value_clip, entropy_coef = (float(self.now[name]) for name in ("clip", "value_clip", "entropy_coef"))
        log_ratio = torch.empty(len(batch.numbers))

        def slopes(output: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal losses
            if batch.mask is not None:
                output = self.distribution.masked(output, batch.mask)
            output_grad, value_grad = torch.empty_like(output), torch.empty_like(value)
            losses = self.kernel(
                output.numpy(),
                value.numpy()[:, 0],
                batch.raw.numpy(),
                batch.numbers.numpy(),
                clip if config.policy_loss == "clipped" else -1.0,
                -1.0 if config.value_clip is None else value_clip,
                config.value_coef,
                entropy_coef,
                config.normalise_advantages,
                output_grad.numpy(),
                value_grad.numpy()[:, 0],
                log_ratio.numpy(),
            )
            return output_grad, value_grad

        self.plain.learn(batch.obs, slopes)
        names = ("loss", "policy_loss", "value_loss", "entropy")
        numbers = torch.from_numpy(np.array(losses, np.float32)).unbind(0)
        return log_ratio, dict(zip(names, numbers, strict=True))


def closed_form(
    plain: PlainActorCritic, distribution: Distribution, config: ActorCriticConfig, now: dict[str, Tensor]
) -> Gradient | None:
    """A `ClosedForm` where the distribution has one and there is one value; None where autograd is to do it."""
    fits = type(distribution) in KERNELS and plain.network.value.out_features == 1
    return ClosedForm(plain, distribution, config, now) if fits else None
