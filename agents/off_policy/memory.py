"""The memory of an off-policy actor-critic: the histories of policy and critics, and the action before.

Policy and critics remember apart, each with a recurrent layer that its own loss trains (Ni et al. 2022).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gymnast.agents.experience.replay import Sequences
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.envs.step import Obs
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork
from gymnast.networks.heads.recurrent_critics import RecurrentCriticNetwork, RecurrentPolicyNetwork
from gymnast.replay.sequences import SequenceShape


class Memory(NamedTuple):
    """The parts of memories [N, M], in this order; all are zero where an episode begins."""

    policy: Tensor
    action: Tensor
    """[N, D], the action before: the numbers of a Box in [-1, 1], or one-hot."""
    critic: Tensor


class Histories:
    """The memories of the recurrent networks of an agent, whose actions are `actions` numbers or choices."""

    def __init__(self, online: RecurrentCriticNetwork, network: RecurrentPolicyNetwork, *, actions: int) -> None:
        self.online, self.network, self.actions = online, network, actions
        self._sizes = [network.history.memory_size, actions, online.history.memory_size]

    @classmethod
    def of(cls, online: CriticNetwork, network: PolicyNetwork, *, actions: int) -> Histories | None:
        """None for networks without memory."""
        if not isinstance(online, RecurrentCriticNetwork) or not isinstance(network, RecurrentPolicyNetwork):
            return None
        return cls(online, network, actions=actions)

    @property
    def memory_size(self) -> int:
        """M."""
        return sum(self._sizes)

    def parts(self, memory: Tensor) -> Memory:
        """The parts of memories [N, M]."""
        return Memory(*torch.split(memory, self._sizes, 1))

    def step(self, obs: Obs, memory: Tensor | None) -> tuple[Tensor, Tensor, Memory]:
        """What policy and critics read, [N, F] each, and the memory after `obs`, with the action before still.

        `memory` [N, M] is that before `obs`, None for an empty one.
        """
        seen = self.online.features(obs)
        before = self.parts(seen.new_zeros(len(seen), self.memory_size) if memory is None else memory)
        policy_features, policy = self.network.history.step(seen, before.action, before.policy)
        features, critic = self.online.history.step(seen, before.action, before.critic)
        return policy_features, features, Memory(policy, before.action, critic)

    def after(self, memory: Memory, action: Tensor) -> Tensor:
        """The memory [N, M] after the action that followed."""
        return torch.cat([memory.policy, self.as_input(action), memory.critic], 1)

    def as_input(self, action: Tensor) -> Tensor:
        """Actions float32 [..., D] as they are, choices int64 [...] one-hot, [..., A]."""
        return action if action.is_floating_point() else functional.one_hot(action, self.actions).float()


def sequences_of(config: OffPolicyActorCriticConfig, histories: Histories | None) -> Sequences | None:
    """What the replay of a recurrent agent stores besides steps; None without memory."""
    if histories is None:
        return None
    shape = SequenceShape(config.burn_in, config.sequence_length, config.sequence_period)
    return Sequences(shape, histories.memory_size)
