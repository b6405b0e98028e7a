"""The losses of an off-policy actor-critic: of its critics, and of its policy."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths.actor_critic import (
    bootstrapped,
    critic_loss,
    quantile_critic_loss,
    smallest,
    soft_value,
    truncated,
)
from gymnast.agents.maths.td import weighted_mean
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.policies import Choice, Policy
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork
from gymnast.networks.modes import with_dropout
from gymnast.replay.transitions import Batch


class Draws(NamedTuple):
    """The random numbers of an update."""

    next_action: Tensor | None
    """Standard normal [B, D], for the next actions; None if actions are not drawn."""
    action: Tensor | None
    """Likewise, for the actions of the policy's loss."""
    subset: Tensor | None
    """int64 [m], the critics of the targets; None for all."""


class Rewarded(Protocol):
    """The part of transitions that targets are made of."""

    reward: Tensor
    """[B]."""
    discount: Tensor
    """[B]."""


class Losses:
    """The losses as functions of a batch and random numbers, for the networks of an agent."""

    def __init__(
        self,
        config: OffPolicyActorCriticConfig,
        policy: Policy,
        temperature: Tensor,
        *,
        online: CriticNetwork,
        target: CriticNetwork,
        network: PolicyNetwork,
        target_policy: PolicyNetwork,
    ) -> None:
        self.config, self.policy, self.temperature = config, policy, temperature
        self.online, self.target, self.network, self.target_policy = online, target, network, target_policy
        self.boxed = policy.noise_size > 0
        midpoints = (torch.arange(config.quantiles, device=temperature.device) + 0.5) / config.quantiles
        self.midpoints = midpoints.unsqueeze(0)  # [1, K]

    def of_critics(self, batch: Batch, draws: Any) -> tuple[Tensor, Tensor, Metrics]:
        """Loss [], error of each sample [B], and the mean value of the actions taken."""
        loss, error, prediction = self.rows_of_critics(batch, draws)
        mean_loss = weighted_mean(loss, batch.weight)
        return mean_loss, error, {"loss": mean_loss.detach(), "q": prediction.detach().mean()}

    def rows_of_critics(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and error of each sample [B], and the values of the actions taken, [M, B, K]."""
        config, online = self.config, self.online
        features = online.features(batch.obs)
        action = batch.action if self.boxed else None
        if config.target_network:
            q = online(features, action)  # [M, B, A, K]
            with torch.no_grad():
                choice = self._next_choice(batch, draws)
                with with_dropout(self.target) if config.dropout else nullcontext():
                    next_q = self.target(self.target.features(batch.next_obs), choice.action)
        else:
            with torch.no_grad():
                choice = self._next_choice(batch, draws)
            q, next_q = self._both_ends(features, action, batch, choice)
        with torch.no_grad():
            target = self.target_of(batch, choice, next_q, draws.subset)  # [B, K']
        return self.errors(q, batch.action, target)

    def errors(self, q: Tensor, action: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and error [B] of values [M, B, A, K] by their targets [B, K'], and those of the actions [M, B, K]."""
        prediction = q[:, :, 0] if self.boxed else _of_choices(q, action)
        if self.config.values == "quantile":
            return *quantile_critic_loss(prediction, target, self.midpoints), prediction
        return *critic_loss(prediction, target), prediction

    def _next_choice(self, batch: Batch, draws: Draws) -> Choice:
        """The policy's actions in the next observations; a deterministic policy's are those of its target network."""
        network = self.target_policy if self.config.policy == "deterministic" else self.network
        output = network(self.online.features(batch.next_obs))
        return self.policy.choose(output, draws.next_action, batch.next_mask)

    def _both_ends(
        self, features: Tensor, action: Tensor | None, batch: Batch, choice: Choice
    ) -> tuple[Tensor, Tensor]:
        """Values of both ends of a transition by the online critics, in one batch that they normalise together."""
        next_features = self.online.features(batch.next_obs)
        actions = None
        if action is not None:
            assert choice.action is not None
            actions = torch.cat([action, choice.action])
        q, next_q = self.online(torch.cat([features, next_features]), actions).chunk(2, 1)
        return q, next_q.detach()

    def target_of(self, batch: Rewarded, choice: Choice, next_q: Tensor, subset: Tensor | None) -> Tensor:
        """Targets [B, K'] from next values [M, B, A, K]."""
        temperature = self.temperature
        if self.config.values == "quantile":
            values = truncated(next_q[:, :, 0], self.config.drop_quantiles)
            return bootstrapped(batch.reward, batch.discount, values - temperature * choice.log_prob)
        least = smallest((next_q if subset is None else next_q.index_select(0, subset)).squeeze(3))  # [B, A]
        value = soft_value(least, choice.probability, choice.log_prob, temperature)
        return bootstrapped(batch.reward, batch.discount, value.unsqueeze(1))

    def policy_values(self, q: Tensor) -> Tensor:
        """The action values that the policy ascends, of critics' outputs [M, B, A, K]; [B, A]."""
        values = q.squeeze(3) if q.shape[3] == 1 else q.mean(3)  # [M, B, A]
        if self.config.policy_value == "first":
            return values[0]
        return values.mean(0) if self.config.policy_value == "mean" else smallest(values)

    def of_policy(self, batch: Batch, draws: Any) -> tuple[Tensor, Tensor, Metrics]:
        """Loss [], entropy of the policy in each observation [B], and metrics; gradients reach only the policy."""
        value, entropy = self.rows_of_policy(batch, draws)
        loss = -value.mean()
        return loss, entropy, self.policy_metrics(loss, entropy.mean())

    def rows_of_policy(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """What the policy ascends and its entropy, in each observation [B]."""
        with torch.no_grad():
            features = self.online.features(batch.obs)
        noise = None if self.config.policy == "deterministic" else draws.action
        choice = self.policy.choose(self.network(features), noise, batch.mask)
        return self.ascended(features, choice), choice.entropy.detach()

    def ascended(self, features: Tensor, choice: Choice) -> Tensor:
        """What the policy ascends, [B]: the critics' soft values of its choices."""
        with with_dropout(self.online) if self.config.dropout else nullcontext():
            first = self.config.policy_value == "first"
            q = self.policy_values(self.online(features, choice.action, frozen=True, first=first))
        return soft_value(q, choice.probability, choice.log_prob, self.temperature)

    def policy_metrics(self, loss: Tensor, entropy: Tensor) -> Metrics:
        """Of a loss and a mean entropy, []."""
        metrics = {"policy_loss": loss.detach()}
        if self.config.policy == "stochastic":
            metrics |= {"entropy": entropy, "temperature": self.temperature.clone()}
        return metrics


def _of_choices(q: Tensor, action: Tensor) -> Tensor:
    """The outputs of the actions taken: [M, B, A, K] and int64 [B] to [M, B, K]."""
    index = action.view(1, -1, 1, 1).expand(q.shape[0], -1, 1, q.shape[3])
    return q.gather(2, index).squeeze(2)
