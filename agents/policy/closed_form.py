"""An actor-critic's gradient as one compiled function of a rollout and the samples of a minibatch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.policy.loss import Coefficients, Slopes, loss_of
from gymnast.agents.samples import Behaviour, Drawn, Samples
from gymnast.networks.distributions.choices import BLOCKED
from gymnast.networks.distributions.distributions import Categorical, Distribution, Gaussian
from gymnast.networks.fast.batch_net import LEARNING
from gymnast.networks.fast.columns import gather
from gymnast.networks.fast.compiling import kernel, part
from gymnast.networks.fast.policy_backward import PlainActorCritic
from gymnast.networks.fast.policy_passes import PolicyNet, policy_backward, policy_forward, slopes_of

if TYPE_CHECKING:
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig

Array = NDArray[Any]
EVERY_ACTION = np.zeros((0, 0), np.bool_)


class Rows(NamedTuple):
    """All samples of a rollout."""

    seen: Array
    """float32 [S, D]."""
    raw: Array
    old: Any
    """`Behaviour` of arrays."""
    weight: Array
    mask: Array
    """bool [S, A], [0, 0] if every action is allowed."""


class ClosedForm:
    """Writes the gradient of `ActorCritic.loss` for a minibatch, and returns its other results."""

    def __init__(self, plain: PlainActorCritic, config: ActorCriticConfig, now: Mapping[str, Tensor]) -> None:
        self.plain, self.config, self.now = plain, config, now
        self.normalises = config.normalise_advantages
        self._samples: Samples | None = None

    def __call__(self, batch: Drawn[Samples], noise: Tensor | None) -> tuple[Tensor, Metrics]:
        if batch.samples is not self._samples:
            self._prepare(batch.samples)
        index = batch.numbers()
        policy = self.plain.reserve(len(index), products=LEARNING)
        log_ratio, losses = write_gradient(policy, self._rows, index, self._by)
        names = ("loss", "policy_loss", "value_loss", "entropy")
        numbers = torch.from_numpy(losses).unbind(0)
        return torch.from_numpy(log_ratio), dict(zip(names, numbers, strict=True))

    def _prepare(self, samples: Samples) -> None:
        """Rollout and coefficients for compiled code."""
        self._samples = samples
        old = Behaviour(*(field.numpy() for field in samples.old))  # type: ignore[arg-type]
        mask = EVERY_ACTION if samples.mask is None else samples.mask.numpy()
        seen = self.plain.network.seen(samples.obs).numpy()
        self._rows = Rows(seen, samples.raw.numpy(), old, samples.weight.numpy(), mask)
        self._by = self._coefficients()

    def _coefficients(self) -> Coefficients:
        """The current coefficients of the loss."""
        config, now = self.config, self.now
        return Coefficients(
            clip=float(now["clip"]) if config.policy_loss == "clipped" else -1.0,
            value_clip=-1.0 if config.value_clip is None else float(now["value_clip"]),
            value_coef=config.value_coef,
            entropy_coef=float(now["entropy_coef"]),
            normalise=self.normalises,
        )


@kernel
def write_gradient(policy: PolicyNet, rows: Rows, index: Array, by: Coefficients) -> tuple[Array, Array]:
    """Write the gradient of the samples of these numbers; returns their log-ratios [B], and the loss and its parts."""
    samples = len(index)
    gather(policy.net, policy.inputs, rows.seen, index)
    output, value = policy_forward(policy, samples)
    if len(rows.mask):
        _block(output, rows.mask, index)
    was: Any = rows.old
    log_prob, advantage = _taken(was.log_prob, index), _taken(was.advantage, index)
    old = Behaviour(log_prob, advantage, _taken(was.value, index), _taken(was.target, index))  # type: ignore[arg-type]
    by_output, by_value = slopes_of(policy, samples)
    slopes = Slopes(by_output, by_value, np.empty(samples, np.float32))
    losses = np.empty(4, np.float32)
    raw, weight = _taken(rows.raw, index), _taken(rows.weight, index)
    losses[0], losses[1], losses[2], losses[3] = loss_of(output, value, raw, old, weight, by, slopes)
    policy_backward(policy, samples)
    return slopes.log_ratio, losses


@part
def _taken(given: Array, index: Array) -> Array:
    """`given[index]`, which takes long to compile."""
    if given.ndim == 1:
        return _numbers(given, index)
    taken = np.empty((len(index), given.shape[1]), given.dtype)
    for row in range(len(index)):
        for column in range(given.shape[1]):
            taken[row, column] = given[index[row], column]
    return taken


@part
def _numbers(given: Array, index: Array) -> Array:
    taken = np.empty(len(index), given.dtype)
    for row in range(len(index)):
        taken[row] = given[index[row]]
    return taken


@part
def _block(output: Array, mask: Array, index: Array) -> None:
    for row in range(len(index)):
        for action in range(output.shape[1]):
            if not mask[index[row], action]:
                output[row, action] = BLOCKED


def closed_form(
    plain: PlainActorCritic, distribution: Distribution, config: ActorCriticConfig, now: Mapping[str, Tensor]
) -> ClosedForm | None:
    """A `ClosedForm` if the distribution has one and there is one value; None if autograd is needed."""
    fits = type(distribution) in (Categorical, Gaussian) and plain.network.value.out_features == 1
    return ClosedForm(plain, config, now) if fits else None
