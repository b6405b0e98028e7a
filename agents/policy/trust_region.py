"""The natural policy gradient, and its step within a trust region (TRPO), as a part of the actor-critic learner."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.autograd import grad

from gymnast.agents.base import LearningError, Metrics
from gymnast.agents.maths.means import shares, weighted_mean
from gymnast.agents.maths.policy_gradient import normalised
from gymnast.agents.maths.trust_region import (
    Found,
    Product,
    backtrack,
    conjugate_gradients,
    fisher_product,
    surrogate,
)
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.update import Update
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.loss import values_loss
from gymnast.agents.policy.value_gradient import value_gradient
from gymnast.agents.samples import Drawn, Samples
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.heads.actor_critic import ActorCriticNetwork
from gymnast.networks.modes import depends_on_mode


def halves(network: ActorCriticNetwork) -> nn.ModuleList:
    """The parameters of the policy, then those of the values, of a network with a trunk for each.

    Raises:
        ValueError: a policy that computes something else while it learns, so that its divergence would too.
    """
    assert network.critic is not None
    if depends_on_mode(network.actor):
        raise ValueError(
            "a natural policy gradient needs a network that computes the same in training and evaluation mode, "
            "without dropout or BatchNorm; use LayerNorm, or policy_loss clipped"
        )
    policy = nn.ModuleList([network.actor, network.policy])
    if network.log_std is not None:
        policy.append(nn.ParameterList([network.log_std]))
    return nn.ModuleList([policy, nn.ModuleList([network.critic, network.value])])


class TrustRegion:
    """One step of the policy for each rollout, and the update that fits the values to minibatches.

    With the mean advantage L(theta) by the ratio of probabilities, its gradient g and the Fisher matrix F of the policy
    at its parameters, both for the rollout's observations, the step is sqrt(2 max_kl / g' F^-1 g) F^-1 g: to second
    order its mean KL divergence is `max_kl` (Kakade 2001; Rajeswaran et al. 2017, eq. 5). A trust region shortens it
    until L improves and the true divergence is within `max_kl` (Schulman et al. 2015, appendix C).

    `weights` hold the `halves` of the network; `now` has the scheduled `entropy_coef` and `value_clip`.
    """

    def __init__(
        self,
        network: ActorCriticNetwork,
        weights: FlatParameters,
        distribution: Distribution,
        config: ActorCriticConfig,
        now: Mapping[str, Tensor],
        *,
        learning_rate: float,
    ) -> None:
        self.network, self.distribution, self.config, self.now = network, distribution, config, now
        policy, values = weights.module.children()
        self.policy, self.values = weights.part(policy), weights.part(values)
        self.optimizer = optimizers.of_agent(config, self.values, learning_rate)
        """Of the values alone."""
        gradient = None if config.value_clip is not None else value_gradient(network, self.values)
        self.gathers = gradient is None
        """Whether a minibatch is gathered before its update."""
        self.fit = Update(
            self.value_loss,
            self.values,
            self.optimizer,
            max_grad_norm=config.max_grad_norm,
            max_grad_value=config.max_grad_value,
            gradient=gradient,
            regulariser=regularise.regulariser(config, self.values),
        )

    def value_loss(self, batch: Samples, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """Loss [] of a minibatch's values, the errors of the first ones [B], and metrics."""
        network, clip = self.network, self.config.value_clip
        assert network.critic is not None
        value = network.value(network.critic(network.seen(batch.obs)))  # [B, V]
        loss = values_loss(
            value,
            old=batch.old,
            weight=shares(batch.weight),
            value_clip=None if clip is None else self.now["value_clip"],
        )
        return loss, (batch.old.target - value.detach())[:, 0], {"value_loss": loss.detach()}

    def step(self, samples: Samples, generator: torch.Generator) -> Metrics:
        """Move the policy by all samples of a rollout; the generator draws those of the Fisher matrix.

        Raises:
            LearningError: advantages, a natural gradient or its result are not finite; the policy is as before.
        """
        if not torch.where(samples.weight > 0, samples.old.advantage, 0.0).isfinite().all():
            raise LearningError("the advantages of the rollout are not finite")
        samples = samples._replace(obs=self.network.seen(samples.obs))
        weight, output = shares(samples.weight), self._output(samples)
        old = output.detach()
        objective = self._objective(samples, old, weight)
        start = objective(output)
        step, residual = self._natural(start, self._fisher(samples, output, generator))

        @torch.no_grad()
        def measure() -> tuple[Tensor, Tensor]:
            moved = self._output(samples)
            return objective(moved) - start, weighted_mean(self.distribution.kl(old, moved), weight)

        found = self._move(step, measure)
        metrics = {
            "kl": found.kl,
            "surrogate_gain": found.gain,
            "entropy": weighted_mean(self.distribution.entropy(old), weight),
            "cg_residual": residual,
        }
        if self.config.policy_loss == "trust-region":
            metrics["step_accepted"] = residual.new_tensor(found.scale > 0.0)
            metrics["line_search_tries"] = residual.new_tensor(found.tries)
        return metrics

    def _output(self, samples: Samples) -> Tensor:
        """Outputs of the policy [B, P] for observations as the network sees them."""
        network = self.network
        output = network.with_scales(network.policy(network.actor(samples.obs)))
        return output if samples.mask is None else self.distribution.masked(output, samples.mask)

    def _objective(self, samples: Samples, old: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
        """Maps outputs to the mean advantage by the ratio to the policy of `old` outputs, and the entropy bonus; []."""
        config, advantage = self.config, samples.old.advantage
        if config.normalise_advantages:
            advantage = normalised(advantage, weight)
        old_log_prob = self.distribution.log_prob(old, samples.raw)

        def objective(output: Tensor) -> Tensor:
            log_prob, entropy = self.distribution.log_prob_entropy(output, samples.raw)
            bonus = self.now["entropy_coef"] * weighted_mean(entropy, weight)
            return surrogate(log_prob, old_log_prob, advantage, weight) + bonus

        return objective

    def _fisher(self, samples: Samples, output: Tensor, generator: torch.Generator) -> Product:
        """Products with the damped Fisher matrix of the samples, or of the share of them that the config asks for."""
        config, weight = self.config, samples.weight
        if config.fisher_share < 1.0:
            count = max(1, round(config.fisher_share * len(weight)))
            index = torch.rand(len(weight), generator=generator, device=weight.device).argsort()[:count]
            samples = Drawn(samples, index).gathered()
            output = self._output(samples)
        old, weight = output.detach(), shares(samples.weight)
        return fisher_product(
            output,
            self.policy.learned,
            lambda moved: weighted_mean(self.distribution.kl(old, moved), weight),
            flatten=self.policy.flatten,
            damping=config.cg_damping,
        )

    def _natural(self, objective: Tensor, product: Product) -> tuple[Tensor, Tensor]:
        """The full step [P], and the residual beside the gradient []; no step where the objective has no slope."""
        config, policy = self.config, self.policy
        gradient = policy.flatten(grad(objective, policy.learned, retain_graph=True, materialize_grads=True))
        direction, residual = conjugate_gradients(
            product, gradient, steps=config.cg_steps, tolerance=config.cg_tolerance
        )
        slope = torch.dot(gradient, direction)  # also the squared length by F: the residual is at right angles
        if not torch.isfinite(slope):
            raise LearningError("the natural gradient of the policy is not finite")
        length = torch.where(slope > 0, 2.0 * config.max_kl / slope, 0.0).sqrt()
        return direction * length, residual

    def _move(self, step: Tensor, measure: Callable[[], tuple[Tensor, Tensor]]) -> Found:
        """Take a step, or the part of it that the search finds; `measure` gives the gain and divergence of now."""
        config, data, before = self.config, self.policy.data, self.policy.data.clone()

        def at(scale: float) -> tuple[Tensor, Tensor]:
            data.copy_(torch.add(before, step, alpha=scale))
            return measure()

        if config.policy_loss == "trust-region":
            bounds = {"max_kl": config.max_kl, "shrink": config.line_search_shrink}
            found = backtrack(at, steps=config.line_search_steps, **bounds)
            if found.scale == 0.0:
                data.copy_(before)
            return found
        gain, kl = at(1.0)
        if not (torch.isfinite(gain) and torch.isfinite(kl)):
            data.copy_(before)
            raise LearningError("the policy after a natural step is not finite; use a smaller max_kl")
        return Found(1.0, gain, kl, 1)
