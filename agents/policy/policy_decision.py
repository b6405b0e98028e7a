"""The decision of a policy's network, differentiable in the observation."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from gymnast.agents.base import Decision
from gymnast.agents.policy.policy_actor import PolicyConfig
from gymnast.agents.prediction import GreedyPolicy
from gymnast.envs.step import Obs
from gymnast.networks.distributions import counted
from gymnast.networks.distributions.distributions import Distribution, DrawnByNumbers
from gymnast.networks.heads.actor_critic import ActorCriticNetwork


class _HasPolicy(Protocol):
    network: ActorCriticNetwork
    distribution: Distribution
    has_value: bool

    @property
    def config(self) -> PolicyConfig: ...


class DecidesByPolicy:
    """Gives an agent with a policy the members of `DecidingAgent`."""

    has_value = True
    """Whether the network has learned the value of a state."""

    @property
    def decision_network(self: _HasPolicy) -> nn.Module:
        return self.network

    @property
    def decision_memory(self: _HasPolicy) -> int:
        return self.network.memory_size

    @property
    def preferences(self: _HasPolicy) -> str:
        return "mean of the action" if self.distribution.dtype.is_floating_point else "logit"

    def decide(self: _HasPolicy, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None) -> Decision:
        """Logits, or the means of a Gaussian, as a differentiable decision; the features are the actor's."""
        features, output, value, memory = self.network.decided(obs, memory)
        if action_mask is not None and self.config.action_masks:
            output = self.distribution.masked(output, action_mask)
        return Decision(
            output[:, : self.distribution.outputs], value[:, 0] if self.has_value else None, features, memory
        )

    def greedy_policy(self: _HasPolicy) -> MostProbable:
        """The most probable action as a module; see `ExportableAgent`."""
        return MostProbable(self.network, self.distribution, takes_masks=self.config.action_masks)

    def sampled_policy(self: _HasPolicy) -> Sampled:
        """An action drawn by a seed as a module; see `SamplingAgent`."""
        return Sampled(self.network, self.distribution, takes_masks=self.config.action_masks)


class MostProbable(GreedyPolicy):
    """The mode of a policy, as the environment takes it: clipped, squashed, scaled, numbered."""

    def __init__(self, network: ActorCriticNetwork, distribution: Distribution, *, takes_masks: bool) -> None:
        super().__init__()
        self.network, self.distribution, self.memory_size = network, distribution, network.memory_size
        real = distribution.dtype.is_floating_point
        self.preferences, self.takes_masks = "mean of the action" if real else "logit", takes_masks and not real

    def forward(
        self, obs: Obs, memory: Tensor | None, action_mask: Tensor | None, seed: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        _, output, _, memory = self.network.decided(obs, memory)
        if action_mask is not None and self.takes_masks:
            output = self.distribution.masked(output, action_mask)
        action = self.distribution.to_env(self._raw(output, seed))
        return action, output[:, : self.distribution.outputs], memory

    def _raw(self, output: Tensor, seed: Tensor | None) -> Tensor:
        return self.distribution.mode(output)


class Sampled(MostProbable):
    """An action drawn from a policy by a seed, as the environment takes it."""

    draws = True

    def __init__(self, network: ActorCriticNetwork, distribution: Distribution, *, takes_masks: bool) -> None:
        super().__init__(network, distribution, takes_masks=takes_masks)
        assert isinstance(distribution, DrawnByNumbers)
        self.drawn: DrawnByNumbers = distribution

    def _raw(self, output: Tensor, seed: Tensor | None) -> Tensor:
        assert seed is not None
        return self.drawn.drawn_by(output, counted.uniform(seed, self.drawn.uniforms))
