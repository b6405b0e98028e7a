"""The loss of an actor-critic for each member of a population, and its gradient for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths import policy_gradient
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.envs.step import Obs
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

    def gradient(
        self, parameters: Tensor, obs: Obs, raw: Tensor, numbers: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """Gradients [M, P], each of a member's own loss, and what is logged [M], for the fields of a `Batch`."""

        def total(rows: Tensor) -> tuple[Tensor, Metrics]:
            loss, metrics = self(rows, obs, raw, numbers, mask)
            return loss.sum(), metrics  # a member's loss depends on its own row alone

        grad, (_, metrics) = torch.func.grad_and_value(total, has_aux=True)(parameters)
        return grad, metrics

    def __call__(
        self, parameters: Tensor, obs: Obs, raw: Tensor, numbers: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """Losses [M] and what is logged [M]."""
        output, value = self.network(parameters, obs)
        if mask is not None:
            output = self.distribution.masked(output, mask)
        log_prob, entropy = self.distribution.log_prob_entropy(output, raw)
        now = (self.now[name] for name in ("clip", "value_clip", "entropy_coef"))
        losses: tuple[Tensor, Metrics] = torch.func.vmap(self._of_member)(
            log_prob, entropy, value.squeeze(2), numbers, *now
        )
        return losses

    def _of_member(
        self,
        log_prob: Tensor,
        entropy: Tensor,
        value: Tensor,
        numbers: Tensor,
        clip: Tensor,
        value_clip: Tensor,
        entropy_coef: Tensor,
    ) -> tuple[Tensor, Metrics]:
        """Loss [] of one member (Schulman et al. 2017, eq. 9) and what is logged; inputs are [B], numbers [B, 4]."""
        config = self.config
        old_log_prob, advantage, old_value, target = numbers.unbind(1)
        weight = torch.full_like(advantage, 1.0 / len(advantage))
        if config.normalise_advantages:
            advantage = policy_gradient.normalised(advantage, weight)
        if config.policy_loss == "clipped":
            policy = policy_gradient.clipped_surrogate(log_prob, old_log_prob, advantage, clip, weight)
        else:
            policy = policy_gradient.policy_gradient_loss(log_prob, advantage, weight)
        if config.value_clip is None:
            values = policy_gradient.value_loss(value, target, weight)
        else:
            values = policy_gradient.clipped_value_loss(value, old_value, target, value_clip, weight)
        spread = policy_gradient.entropy_loss(entropy, weight)
        loss = policy + config.value_coef * values + entropy_coef * spread
        log_ratio = log_prob - old_log_prob
        metrics = {
            "loss": loss,
            "policy_loss": policy,
            "value_loss": values,
            "entropy": -spread,
            "approx_kl": policy_gradient.approx_kl(log_ratio, weight),
            "clip_fraction": policy_gradient.clip_fraction(log_ratio, clip, weight),
        }
        return loss, {name: number.detach() for name, number in metrics.items()}
