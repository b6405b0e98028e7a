"""The decision of an off-policy actor-critic: differentiable in the observation, and as a module for export."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gymnast.agents.base import Decision
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.memory import Histories, Memory
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
    histories: Histories | None

    def policy_values(self, q: Tensor) -> Tensor: ...
    @property
    def decision_network(self) -> nn.Module: ...


class DecidesOffPolicy:
    """Gives an off-policy actor-critic the members of `DecidingAgent` and `ExportableAgent`."""

    _decides: nn.Module | None = None

    @property
    def decision_memory(self: _HasPolicy) -> int:
        return 0 if self.histories is None else self.histories.memory_size

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
        after: Memory | None = None
        if self.histories is None:
            features = read = self.online.features(obs)
        else:
            read, features, after = self.histories.step(obs, memory)
        output: Tensor = self.network(read)
        mask = action_mask if self.config.action_masks and self.bounds is None else None
        choice = self.policy.choose(output, None, mask)
        value = self.policy_values(self.online(features, choice.action))  # [N, A]
        preference = output[:, : numbers_of(self.policy)]
        if mask is not None:
            preference = preference.masked_fill(~mask, BLOCKED)
        remembered = None
        if self.histories is not None and after is not None:
            greedy = preference.argmax(1) if choice.action is None else choice.action
            remembered = self.histories.after(after, greedy)
        return Decision(preference, (choice.probability * value).sum(1), read, remembered)

    def greedy_policy(self: _HasPolicy) -> GreedyAction:
        """The policy's mode as a module; see `ExportableAgent`."""
        return GreedyAction(self) if self.histories is None else RecurrentGreedyAction(self, self.histories)

    def sampled_policy(self: _HasPolicy) -> SampledAction:
        """An action drawn by a seed as a module; see `SamplingAgent`."""
        if isinstance(self.policy, Deterministic):
            raise ValueError("its policy is deterministic")
        return SampledAction(self) if self.histories is None else RecurrentSampledAction(self, self.histories)


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
        action, preference, _ = self.act(self.encoder(obs), action_mask, seed)
        return action, preference, None

    def act(self, features: Tensor, action_mask: Tensor | None, seed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Actions of what the policy's layers read, their preferences, and the actions as critics read them."""
        output: Tensor = self.network(features)
        preference = output[:, : numbers_of(self.policy)]
        if self.bounds is None:
            if action_mask is not None and self.takes_masks:
                preference = preference.masked_fill(~action_mask, BLOCKED)
            taken = self._choice(preference, seed)
            return taken + self.first_action, preference, taken
        taken = self.policy.act(output, self._noise(seed))
        return self.bounds.to_env(taken), preference, taken

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


class RecurrentGreedyAction(GreedyAction):
    """`GreedyAction` with a memory: the policy's, and the action before, which is all that acting needs."""

    def __init__(self, agent: _HasPolicy, histories: Histories) -> None:
        super().__init__(agent)
        self.history, self.as_input = histories.network.history, histories.as_input
        self._sizes = [self.history.memory_size, histories.actions]
        self.memory_size = sum(self._sizes)

    def forward(
        self, obs: Obs, memory: Tensor | None, action_mask: Tensor | None, seed: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        assert memory is not None
        policy, before = torch.split(memory, self._sizes, 1)
        features, policy = self.history.step(self.encoder(obs), before, policy)
        action, preference, taken = self.act(features, action_mask, seed)
        return action, preference, torch.cat([policy, self.as_input(taken)], 1)


class RecurrentSampledAction(SampledAction, RecurrentGreedyAction):
    """`SampledAction` with that memory."""
