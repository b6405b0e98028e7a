"""The losses of a recurrent off-policy actor-critic, on sequences with stored memories and burn-in (R2D2)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.experience.sequences import Steps, following, learned, mixed
from gymnast.agents.off_policy.losses import Losses
from gymnast.agents.off_policy.memory import Histories, Memory
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork
from gymnast.networks.heads.recurrent_critics import RecurrentCriticNetwork, RecurrentPolicyNetwork
from gymnast.networks.heads.recurrent_q import merged
from gymnast.networks.modes import with_dropout
from gymnast.replay.sequences import SequenceBatch


class SequenceLosses(Losses):
    """`Losses` of batches of B sequences, whose B * L steps are the rows; steps that hold no transition do not count.

    Each network warms up its own memory over the prefix, without gradient, from the memory that the actor had.
    """

    def __init__(self, *args: Any, histories: Histories, **networks: Any) -> None:
        super().__init__(*args, **networks)
        self.histories = histories

    def of_critics(self, batch: SequenceBatch, draws: Any) -> tuple[Tensor, Tensor, Metrics]:  # type: ignore[override]
        """Loss [], error of each sequence [B], and the mean value of the actions taken."""
        config, steps, seen = self.config, Steps.of(batch), self._seen(self.online.encoder, batch)
        features = learned(remembered(self.online, seen), batch)
        q = self.online(features, steps.action if self.boxed else None)  # [M, B * L, A, K]
        with torch.no_grad():
            actor = self.target_policy if config.policy == "deterministic" else self.network
            output = actor(following(remembered(actor, seen), batch))
            choice = self.policy.choose(output, draws.next_action, steps.next_mask)
            next_features = following(remembered(self.target, self._seen(self.target.encoder, batch)), batch)
            with with_dropout(self.target) if config.dropout else nullcontext():
                next_q = self.target(next_features, choice.action)
            target = self.target_of(steps, choice, next_q, draws.subset)  # [B * L, K']
        loss, error, prediction = self.errors(q, steps.action, target)
        valid = batch.valid
        mean_loss = (batch.weight.unsqueeze(1) * valid * loss.view_as(valid)).sum() / _count(valid)
        mean_q = (valid.flatten() * prediction.detach().mean((0, 2))).sum() / _count(valid)
        priority = mixed(error.view_as(valid), valid, eta=config.priority_eta)
        return mean_loss, priority, {"loss": mean_loss.detach(), "q": mean_q}

    def of_policy(self, batch: SequenceBatch, draws: Any) -> tuple[Tensor, Tensor, Metrics]:  # type: ignore[override]
        """Loss [], entropy of the policy in each step that holds a transition, and metrics.

        Gradients reach only the policy, its recurrent layer included.
        """
        with torch.no_grad():
            seen = self._seen(self.online.encoder, batch)
            features = learned(remembered(self.online, seen), batch)
        output = self.network(learned(remembered(self.network, seen), batch))
        noise = None if self.config.policy == "deterministic" else draws.action
        choice = self.policy.choose(output, noise, Steps.of(batch).mask)
        valid = batch.valid.flatten()
        loss = -(valid * self.ascended(features, choice)).sum() / _count(valid)
        entropy = choice.entropy.detach()
        mean = (valid * entropy).sum() / _count(valid)
        return loss, entropy[valid > 0.0], self.policy_metrics(loss, mean)

    def _seen(self, encoder: nn.Module, batch: SequenceBatch) -> Seen:
        """What an encoder makes of a batch; gradients do not reach it through the prefix."""
        memory = self.histories.parts(batch.memory)
        start, burn_in = torch.cat([batch.prefix_start, batch.start], 1), batch.prefix_start.shape[1]
        assert batch.taken is not None
        taken = self.histories.as_input(batch.taken)
        before = torch.cat([memory.action.unsqueeze(1), taken[:, :-1]], 1).masked_fill(start.unsqueeze(2), 0.0)
        features: Tensor = encoder(merged(batch.obs)).view(*batch.start.shape, -1)
        prefix = features[:, :0]
        if burn_in:
            with torch.no_grad():
                prefix = encoder(merged(batch.prefix_obs)).view(*batch.prefix_start.shape, -1)
        return Seen(
            Span(prefix, before[:, :burn_in], batch.prefix_start),
            Span(features, before[:, burn_in:], batch.start),
            memory,
        )


class Span(NamedTuple):
    """T successive steps of B sequences, as a `History` reads them."""

    features: Tensor
    """[B, T, F], of the encoder."""
    before: Tensor
    """[B, T, D], the action before each step, zero where an episode begins."""
    start: Tensor
    """bool [B, T]."""


class Seen(NamedTuple):
    """The prefix of sequences and the L + n steps after it, with the memories before the prefix."""

    prefix: Span
    rest: Span
    memory: Memory


def remembered(network: CriticNetwork | PolicyNetwork, seen: Seen) -> Tensor:
    """What critics or a policy read in each of the L + n steps, [B, L + n, F]; no gradient through the prefix.

    The gradient of critics reaches the encoder, that of a policy does not.
    """
    assert isinstance(network, RecurrentCriticNetwork | RecurrentPolicyNetwork)
    policy, rest = isinstance(network, RecurrentPolicyNetwork), seen.rest
    memory = seen.memory.policy if policy else seen.memory.critic
    if seen.prefix.start.shape[1]:
        with torch.no_grad():
            memory = network.history.after(*seen.prefix, memory)
    features = rest.features.detach() if policy else rest.features
    output: Tensor = network.history(features, rest.before, rest.start, memory)
    return output


def _count(valid: Tensor) -> Tensor:
    """The number of steps that hold a transition, at least 1."""
    return valid.sum().clamp(min=1.0)
