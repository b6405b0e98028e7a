"""Many actor-critics of one form at once: each has its own row of parameters, every layer is one batched product."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.heads.actor_critic import ActorCriticNetwork, Trunk
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.stacked.layers import Parts, StackedParameters, check_plain, linear, mlp


class StackedActorCritic(StackedParameters):
    """Computes an `ActorCriticNetwork` of fully connected layers with M rows of parameters.

    Raises:
        ValueError: for a trunk that is not a plain MLP, is recurrent, or normalises observations.
    """

    def __init__(self, network: ActorCriticNetwork) -> None:
        for trunk in (network.actor, network.critic):
            if trunk is not None and (type(trunk.backbone) is not MLP or trunk.core is not None):
                raise ValueError("a stacked actor-critic needs fully connected trunks: use backbone mlp")
            if trunk is not None:
                check_plain(trunk.backbone)
        if network.norm is not None:
            raise ValueError("a stacked actor-critic does not normalise observations")
        super().__init__(network)
        self.network = network

    def __call__(self, parameters: Tensor, obs: Obs) -> tuple[Tensor, Tensor]:
        """Outputs [M, B, P + scales] and values [M, B, V] of observations [M * B, ...], grouped by member."""
        parts = self.split(parameters)
        of_actor = self._features("actor", self.network.actor, parts, obs)
        output = linear(parts, "policy", of_actor)
        if self.network.log_std is not None:
            output = torch.cat([output, parts["log_std"].unsqueeze(1).expand(-1, output.shape[1], -1)], 2)
        return output, self._value(parts, obs, of_actor)

    def value(self, parameters: Tensor, obs: Obs) -> Tensor:
        """Only the values, [M, B, V]."""
        parts, shared = self.split(parameters), None
        if self.network.critic is None:
            shared = self._features("actor", self.network.actor, parts, obs)
        return self._value(parts, obs, shared)

    def _value(self, parts: Parts, obs: Obs, of_actor: Tensor | None) -> Tensor:
        critic = self.network.critic
        features = of_actor if critic is None else self._features("critic", critic, parts, obs)
        assert features is not None
        return linear(parts, "value", features)

    def _features(self, name: str, trunk: Trunk, parts: Parts, obs: Obs) -> Tensor:
        """A trunk's features, [M, B, H]."""
        assert isinstance(trunk.backbone, MLP)
        return mlp(parts, f"{name}.backbone", trunk.backbone, obs)
