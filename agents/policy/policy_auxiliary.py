"""An auxiliary loss beside the loss of an actor-critic, on the features of its one trunk."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gymnast.agents.auxiliary import Auxiliary, Transitions
from gymnast.agents.base import Metrics
from gymnast.agents.maths.means import shares
from gymnast.agents.optim.update import Loss
from gymnast.agents.samples import Samples
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.heads.actor_critic import ActorCriticNetwork

LossOf = Callable[[Tensor, Tensor, Samples], tuple[Tensor, Tensor, Metrics]]
"""Maps outputs [B, P], values [B, V] and a minibatch to loss [], log-ratios [B] and metrics."""


def beside(auxiliary: Auxiliary, network: ActorCriticNetwork, distribution: Distribution, loss_of: LossOf) -> Loss:
    """The sum of both losses of a minibatch; rows that do not count have no weight in either."""

    def both(batch: Samples, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        assert batch.reward is not None
        features = network.actor(network.seen(batch.obs))
        output, value = network.heads(features, features)
        output = output if batch.mask is None else distribution.masked(output, batch.mask)
        loss, log_ratio, metrics = loss_of(output, value, batch)
        action = distribution.to_env(batch.raw)
        seen = Transitions(batch.obs, batch.next_obs, action, batch.reward, shares(batch.weight))
        extra, more = auxiliary.loss(seen, features)
        return loss + extra, log_ratio, metrics | more

    return both
