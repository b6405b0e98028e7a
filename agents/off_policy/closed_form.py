"""The gradients of `Losses` as compiled functions: ReLU layers, Box actions, one value for each critic, on the CPU.

`benchmarks/off_policy.py` measures the whole beside its peers (RESULTS.md).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.off_policy.losses import Losses
from gymnast.agents.off_policy.policies import LOG_STD_MAX, LOG_STD_MIN, Deterministic
from gymnast.agents.off_policy.target import Target
from gymnast.networks.fast.batch_net import FORWARD, LEARNING
from gymnast.networks.fast.columns import backward, backward_to, forward, gather, matrix_of, memory_of, stride_of
from gymnast.networks.fast.compiling import kernel, part
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.member_nets import MemberNets, Nets
from gymnast.replay.transitions import Batch

Array = NDArray[Any]
COMBINED = {"first": 0, "min": 1, "mean": 2}
FIRST, MIN, _ = COMBINED.values()
NONE = np.zeros((0, 0), np.float32)
THROUGH = 2
"""Products with each weight that a forward pass and the slopes by its inputs take."""
LOG_TWO, HALF_LOG_TWO_PI = math.log(2.0), 0.5 * math.log(2.0 * math.pi)


class Form(NamedTuple):
    """What actions are drawn by, and how the policy's loss combines critics."""

    stochastic: bool
    noise: float
    """Deviation of the noise on a deterministic policy's next action, and its bound."""
    noise_clip: float
    combined: int
    """One of `COMBINED`."""
    temperature: float


class Transitions(NamedTuple):
    """A batch as arrays: float32 [B, ...]."""

    obs: Array
    action: Array
    reward: Array
    discount: Array
    next_obs: Array
    weight: Array


class ClosedForm:
    """Writes the gradients of the critics' and the policy's losses, and returns the losses' other results."""

    def __init__(
        self, losses: Losses, weights: FlatParameters, policy_weights: FlatParameters, targets: list[Target]
    ) -> None:
        config, self.losses = losses.config, losses
        self.critics = MemberNets(losses.online.critics, weights)
        self.policy = MemberNets(losses.network.layers, policy_weights)
        self.targets = MemberNets(losses.target.critics, targets[0].weights)
        self.next_policy = self.policy
        noise, noise_clip = 0.0, 0.0
        if isinstance(losses.policy, Deterministic):
            self.next_policy = MemberNets(losses.target_policy.layers, targets[1].weights)
            noise, noise_clip = losses.policy.noise, losses.policy.noise_clip
        stochastic = config.policy == "stochastic"
        self.form = Form(stochastic, noise, noise_clip, COMBINED[config.policy_value], 0.0)
        self.every_critic = np.arange(config.critics)

    def of_critics(self, batch: Batch, draws: Any) -> tuple[Tensor, Metrics]:
        """The error of each sample [B], and metrics; see `Losses.of_critics`."""
        own = Transitions(
            *(self._vector(batch.obs), batch.action.numpy(), batch.reward.numpy(), batch.discount.numpy()),
            *(self._vector(batch.next_obs), batch.weight.numpy()),
        )
        subset = self.every_critic if draws.subset is None else draws.subset.numpy()
        rows = len(own.reward)
        critics, targets = self.critics.reserve(rows, LEARNING), self.targets.reserve(rows, FORWARD, len(subset))
        noise = NONE if draws.next_action is None else draws.next_action.numpy()
        nets = self.next_policy.reserve(rows, FORWARD), critics, targets
        error, numbers = critic_gradient(*nets, own, noise, subset, self._form())
        loss, q = torch.from_numpy(numbers).unbind()
        return torch.from_numpy(error), {"loss": loss, "q": q}

    def of_policy(self, batch: Batch, draws: Any) -> tuple[Tensor, Metrics]:
        """The entropy in each observation [B], and metrics; see `Losses.of_policy`."""
        obs, form = self._vector(batch.obs), self._form()._replace(noise=0.0)
        asked = 1 if form.combined == FIRST else len(self.every_critic)
        nets = self.policy.reserve(len(obs), LEARNING), self.critics.reserve(len(obs), THROUGH, asked)
        entropy, numbers = policy_gradient(*nets, obs, draws.action.numpy(), asked, form)
        loss, mean_entropy = torch.from_numpy(numbers).unbind()
        return torch.from_numpy(entropy), self.losses.policy_metrics(loss, mean_entropy)

    def _vector(self, obs: Any) -> Array:
        vector: Array = self.losses.online.features(obs).contiguous().numpy()
        return vector

    def _form(self) -> Form:
        return self.form._replace(temperature=float(self.losses.temperature))


@kernel
def critic_gradient(
    policy: Nets, critics: Nets, targets: Nets, batch: Transitions, noise: Array, subset: Array, form: Form
) -> tuple[Array, Array]:
    """Write the gradient of the critics' loss; returns the error of each sample [B], and loss and mean value [2]."""
    rows, size = len(batch.reward), batch.action.shape[1]
    every = np.arange(rows)
    action, log_prob = _chosen(policy, batch.next_obs, every, noise, size, form)
    least = np.full(rows, np.inf, np.float32)
    for member in subset:
        q = _values(targets, member, batch.next_obs, action, every)
        for row in range(rows):
            least[row] = min(least[row], q[row])
    error, numbers = np.zeros(rows, np.float32), np.zeros(2, np.float32)
    members = len(critics.addresses)
    for member in range(members):
        q = _values(critics, member, batch.obs, batch.action, every)
        slopes = _slopes(critics, member, rows)
        for row in range(rows):
            value = least[row] - form.temperature * log_prob[row]
            gap = q[row] - (batch.reward[row] + batch.discount[row] * value)
            slopes[row, 0] = 2.0 * batch.weight[row] * gap / rows
            error[row] += abs(gap) / members
            numbers[0] += batch.weight[row] * gap * gap / rows
            numbers[1] += q[row] / (rows * members)
        _learn(critics, member, rows)
    return error, numbers


@kernel
def policy_gradient(
    policy: Nets, critics: Nets, obs: Array, noise: Array, asked: int, form: Form
) -> tuple[Array, Array]:
    """Write the gradient of the policy's loss by the first `asked` critics.

    Returns the entropy in each observation [B], and loss and mean entropy [2].
    """
    rows, size, every = len(obs), noise.shape[1], np.arange(len(obs))
    action, log_prob = _chosen(policy, obs, every, noise, size, form)
    value, best = np.zeros(rows, np.float32), np.zeros(rows, np.int64)
    for member in range(asked):
        q = _values(critics, member, obs, action, every)
        for row in range(rows):
            if form.combined != MIN:
                value[row] += q[row] / asked
            elif member == 0 or q[row] < value[row]:
                value[row], best[row] = q[row], member
    by_action = np.zeros((rows, size), np.float32)
    for member in range(asked):
        slopes = _slopes(critics, member, rows)
        for row in range(rows):
            share = 1.0 / asked if form.combined != MIN else (1.0 if best[row] == member else 0.0)
            slopes[row, 0] = -share / rows
        _add_slopes(critics, member, obs.shape[1], by_action)
    _write_slopes(policy, action, noise, by_action, form)
    _learn(policy, 0, rows)
    entropy, numbers = np.empty(rows, np.float32), np.zeros(2, np.float32)
    for row in range(rows):
        entropy[row] = -log_prob[row]
        numbers[0] += (form.temperature * log_prob[row] - value[row]) / rows
        numbers[1] += entropy[row] / rows
    return entropy, numbers


@part
def _chosen(policy: Nets, obs: Array, every: Array, noise: Array, size: int, form: Form) -> tuple[Array, Array]:
    """Actions [B, D] in observations [B, F] and their log-densities [B], 0 without one; see `policies`."""
    rows, net = len(obs), policy.addresses[0]
    gather(net, policy.inputs, obs, every)
    output = matrix_of(net, forward(net, 0, policy.layers, policy.inputs, rows), policy.outputs, rows)
    action, log_prob = np.empty((rows, size), np.float32), np.zeros(rows, np.float32)
    for row in range(rows):
        total = 0.0
        for number in range(size):
            mean = float(output[row, number])
            if form.stochastic:
                draw = float(noise[row, number])
                log_std = min(max(float(output[row, size + number]), LOG_STD_MIN), LOG_STD_MAX)
                raw = mean + math.exp(log_std) * draw
                action[row, number] = math.tanh(raw)
                # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), finite for every u.
                softplus = max(-2.0 * raw, 0.0) + math.log1p(math.exp(-2.0 * abs(raw)))
                total -= 0.5 * draw * draw + log_std + HALF_LOG_TWO_PI + 2.0 * (LOG_TWO - raw - softplus)
            else:
                push = min(max(form.noise * noise[row, number], -form.noise_clip), form.noise_clip)
                action[row, number] = min(max(math.tanh(mean) + push, -1.0), 1.0)
        log_prob[row] = total
    return action, log_prob


@part
def _values(critics: Nets, member: int, obs: Array, action: Array, every: Array) -> Array:
    """A critic's values [B] of actions [B, D] in observations [B, F]."""
    net = critics.addresses[member]
    gather(net, critics.inputs, obs, every)
    gather(net, critics.inputs + obs.shape[1], action, every)
    place = forward(net, 0, critics.layers, critics.inputs, len(every))
    return memory_of(net, place, len(every))[: len(every)]


@part
def _slopes(nets: Nets, member: int, rows: int) -> Array:
    """Where the slopes by a network's outputs [B, out] belong; they are zero, and those of further columns stay so."""
    memory = memory_of(nets.addresses[member], 0, rows)
    for index in range(nets.outputs * stride_of(rows)):
        memory[index] = np.float32(0.0)
    return matrix_of(nets.addresses[member], 0, nets.outputs, rows)


@part
def _learn(nets: Nets, member: int, rows: int) -> None:
    """Write a network's gradient, given the slopes by its outputs in its first rows."""
    net, spare, other = nets.addresses[member], nets.spare, nets.other
    backward(net, 0, nets.layers, nets.inputs, 0, spare, other, rows)


@part
def _add_slopes(critics: Nets, member: int, features: int, by_action: Array) -> None:
    """Add the slopes of a critic's loss by actions, given those by its values in its first row."""
    rows, size = by_action.shape
    net = critics.addresses[member]
    found = matrix_of(net, backward_to(net, features, 0, critics.spare, critics.other, rows), size, rows)
    for row in range(rows):
        for number in range(size):
            by_action[row, number] += found[row, number]


@part
def _write_slopes(policy: Nets, action: Array, noise: Array, by_action: Array, form: Form) -> None:
    """Slopes by the policy's outputs, into its first rows, given those by its actions [B, D] and their noise."""
    rows, size = action.shape
    net, slopes = policy.addresses[0], _slopes(policy, 0, rows)
    place = policy.spare - policy.outputs  # of the outputs, the last layer's rows
    output, density = matrix_of(net, place, policy.outputs, rows), form.temperature / rows
    for row in range(rows):
        for number in range(size):
            taken = float(action[row, number])
            by_raw = by_action[row, number] * (1.0 - taken * taken)
            if form.stochastic:
                by_raw += 2.0 * density * taken  # the log-density's slope by raw is 2 tanh(raw), by log_std -1
                log_std = float(output[row, size + number])
                if LOG_STD_MIN <= log_std <= LOG_STD_MAX:
                    slopes[row, size + number] = by_raw * noise[row, number] * math.exp(log_std) - density
            slopes[row, number] = by_raw


def closed_form(
    losses: Losses, weights: FlatParameters, policy_weights: FlatParameters, targets: list[Target]
) -> ClosedForm | None:
    """The closed form of these losses; None where autograd has to find the gradients."""
    config, online = losses.config, losses.online
    if not losses.boxed or config.values != "scalar" or not config.target_network or config.recurrent != "none":
        return None
    if config.compile or losses.temperature.device.type != "cpu" or next(online.encoder.parameters(), None) is not None:
        return None
    if not online.critics.is_relu or not losses.network.layers.is_relu:
        return None
    return ClosedForm(losses, weights, policy_weights, targets)
