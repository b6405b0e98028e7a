"""The loss of an actor-critic for each member of a population, and its gradient for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths import policy_gradient
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.loss import actor_critic_loss
from gymnast.agents.population.samples import MemberSamples
from gymnast.agents.samples import Behaviour
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.stacked.policy import StackedActorCritic


class MemberLoss:
    """`ActorCritic.loss` for M members; `now` holds clip, value_clip and entropy_coef of each, all [M]."""

    def __init__(
        self,
        network: StackedActorCritic,
        distribution: Distribution,
        config: ActorCriticConfig,
        now: Mapping[str, Tensor],
    ) -> None:
        self.network, self.distribution, self.config, self.now = network, distribution, config, now

    def gradient(self, parameters: Tensor, batch: MemberSamples) -> tuple[Tensor, Metrics]:
        """Gradients [M, P], each of a member's own loss, and metrics [M]."""

        def total(rows: Tensor) -> tuple[Tensor, Metrics]:
            loss, metrics = self(rows, batch)
            return loss.sum(), metrics  # a member's loss depends only on its own row

        grad, (_, metrics) = torch.func.grad_and_value(total, has_aux=True)(parameters)
        return grad, metrics

    def __call__(self, parameters: Tensor, batch: MemberSamples) -> tuple[Tensor, Metrics]:
        """Losses [M] and metrics [M]."""
        output, value = self.network(parameters, batch.obs)
        if batch.mask is not None:
            output = self.distribution.masked(output, batch.mask)
        log_prob, entropy = self.distribution.log_prob_entropy(output, batch.raw)
        now = (self.now[name] for name in ("clip", "value_clip", "entropy_coef"))
        losses: tuple[Tensor, Metrics] = torch.func.vmap(self._of_member)(log_prob, value, entropy, batch.old, *now)
        return losses

    def _of_member(
        self,
        log_prob: Tensor,
        value: Tensor,
        entropy: Tensor,
        old: Behaviour,
        clip: Tensor,
        value_clip: Tensor,
        entropy_coef: Tensor,
    ) -> tuple[Tensor, Metrics]:
        """`actor_critic_loss` [] and metrics of one member, all of whose rows [B] count."""
        config = self.config
        weight = torch.full_like(log_prob, 1.0 / len(log_prob))
        loss, log_ratio, metrics = actor_critic_loss(
            log_prob,
            value,
            entropy=entropy,
            old=old,
            weight=weight,
            clip=clip if config.policy_loss == "clipped" else None,
            value_clip=None if config.value_clip is None else value_clip,
            value_coef=config.value_coef,
            entropy_coef=entropy_coef,
            normalise=config.normalise_advantages,
        )
        metrics["approx_kl"] = policy_gradient.approx_kl(log_ratio, weight)
        metrics["clip_fraction"] = policy_gradient.clip_fraction(log_ratio, clip, weight)
        return loss, metrics
