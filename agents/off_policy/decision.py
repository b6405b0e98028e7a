"""The decision of an off-policy actor-critic: differentiable in the observation, and as a module for export."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from gymnast.agents.base import Decision
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.policies import Deterministic, Policy
from gymnast.agents.prediction import GreedyPolicy
from gymnast.envs.step import Obs
from gymnast.networks.distributions import counted
from gymnast.networks.distributions.bounds import Bounds
from gymnast.networks.distributions.choices import BLOCKED
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork


class _HasPolicy(Protocol):
    config: OffPolicyActorCriticConfig
    online: CriticNetwork
    network: PolicyNetwork
    policy: Policy
    bounds: Bounds | None
    first_action: int

    def policy_values(self, q: Tensor) -> Tensor: ...
    @property
    def decision_network(self) -> nn.Module: ...


class DecidesOffPolicy:
    """Gives an off-policy actor-critic the members of `DecidingAgent` and `ExportableAgent`."""

    decision_memory = 0
    _decides: nn.Module | None = None

    @property
    def decision_network(self: _HasPolicy) -> nn.Module:
        """Encoder, critics and policy in one module."""
        own: DecidesOffPolicy = self  # type: ignore[assignment]
        if own._decides is None:
            own._decides = nn.ModuleDict({"critic": self.online, "policy": self.network})
        return own._decides

    @property
    def preferences(self: _HasPolicy) -> str:
        return "logit" if self.bounds is None else "mean of the action"

    def decide(self: _HasPolicy, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None) -> Decision:
        """Logits, or the means of a Box's numbers before tanh; the value is that of the greedy action."""
        features = self.online.features(obs)
        output: Tensor = self.network(features)
        mask = action_mask if self.config.action_masks and self.bounds is None else None
        choice = self.policy.choose(output, None, mask)
        value = self.policy_values(self.online(features, choice.action))  # [N, A]
        preference = output[:, : numbers_of(self.policy)]
        if mask is not None:
            preference = preference.masked_fill(~mask, BLOCKED)
        return Decision(preference, (choice.probability * value).sum(1), features, None)

    def greedy_policy(self: _HasPolicy) -> GreedyAction:
        """The policy's mode as a module; see `ExportableAgent`."""
        return GreedyAction(self)

    def sampled_policy(self: _HasPolicy) -> SampledAction:
        """An action drawn by a seed as a module; see `SamplingAgent`."""
        if isinstance(self.policy, Deterministic):
            raise ValueError("its policy is deterministic")
        return SampledAction(self)


def numbers_of(policy: Policy) -> int:
    """The outputs of a policy that are preferences: all logits, or the means."""
    return policy.noise_size or policy.outputs


class GreedyAction(GreedyPolicy):
    """The mode of a policy, as the environment takes it."""

    def __init__(self, agent: _HasPolicy) -> None:
        super().__init__()
        self.encoder, self.network, self.policy = agent.online.encoder, agent.network, agent.policy
        self.bounds, self.first_action = agent.bounds, agent.first_action
        self.takes_masks = agent.bounds is None and agent.config.action_masks
        self.preferences = "logit" if agent.bounds is None else "mean of the action"

    def forward(
        self, obs: Obs, memory: Tensor | None, action_mask: Tensor | None, seed: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        output: Tensor = self.network(self.encoder(obs))
        preference = output[:, : numbers_of(self.policy)]
        if self.bounds is None:
            if action_mask is not None and self.takes_masks:
                preference = preference.masked_fill(~action_mask, BLOCKED)
            return self._choice(preference, seed) + self.first_action, preference, None
        return self.bounds.to_env(self.policy.act(output, self._noise(seed))), preference, None

    def _choice(self, logits: Tensor, seed: Tensor | None) -> Tensor:
        return logits.argmax(1)

    def _noise(self, seed: Tensor | None) -> Tensor | None:
        return None


class SampledAction(GreedyAction):
    """An action drawn from the policy by a seed, as the environment takes it."""

    draws = True

    def _choice(self, logits: Tensor, seed: Tensor | None) -> Tensor:
        assert seed is not None
        return (logits + counted.gumbel(counted.uniform(seed, self.policy.outputs))).argmax(1)

    def _noise(self, seed: Tensor | None) -> Tensor | None:
        assert seed is not None
        return counted.normal(counted.uniform(seed, 2 * self.policy.noise_size))
