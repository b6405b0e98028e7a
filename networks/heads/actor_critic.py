"""Policy and value of an observation: one trunk for both or one each, feed-forward or recurrent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gymnast.networks.layers.gated_transformer import GatedTransformer
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.normalise import RunningNorm
from gymnast.networks.layers.recurrent import Core


class Trunk(nn.Module):
    """A backbone, and an optional recurrent core after it: observations [B, ...] to [B, out_features]."""

    def __init__(self, backbone: nn.Module, core: Core | GatedTransformer | None) -> None:
        super().__init__()
        self.backbone, self.core = backbone, core
        self.out_features = int(backbone.out_features) if core is None else core.out_features  # type: ignore[arg-type]
        self.memory_size = 0 if core is None else core.memory_size

    def forward(self, obs: Obs) -> Tensor:
        """Features of observations without memory."""
        features: Tensor = self.backbone(obs)
        if self.core is not None:
            features, _ = self.core.step(features, features.new_zeros(features.shape[0], self.memory_size))
        return features

    def step(self, obs: Obs, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [N, ...] and the memory before them [N, M] to features and the memory after them."""
        assert self.core is not None
        return self.core.step(self.backbone(obs), memory)

    def sequence(self, obs: Obs, start: Tensor, memory: Tensor) -> Tensor:
        """Observations [B * L, ...] of sequences, bool [B, L] and the memory before them [B, M] to [B * L, H]."""
        assert self.core is not None
        features: Tensor = self.backbone(obs)
        output: Tensor = self.core(features.view(*start.shape, -1), start, memory)
        return output.flatten(0, 1)


def _rows(obs: Any) -> int:
    """N of observations [N, ...]."""
    while isinstance(obs, dict):
        obs = next(iter(obs.values()))
    return len(obs)


class ActorCriticNetwork(nn.Module):
    """Observations [B, ...] to the inputs of a policy's distribution, [B, P + scales], and V values, [B, V].

    `critic` None shares the actor's trunk. The log standard deviations of a Gaussian policy (`scales` of them) do not
    depend on the observation and follow the P outputs. `norm` normalises observations first; it is updated from
    outside. The memory of two recurrent trunks is one tensor [N, M], the actor's first.
    """

    def __init__(
        self,
        actor: Trunk,
        critic: Trunk | None,
        *,
        outputs: int,
        scales: int = 0,
        num_values: int = 1,
        log_std: float = 0.0,
        norm: RunningNorm | None = None,
    ) -> None:
        super().__init__()
        self.norm, self.actor, self.critic = norm, actor, critic
        self.policy = nn.Linear(actor.out_features, outputs)
        self.value = nn.Linear((critic or actor).out_features, num_values)
        self.log_std = nn.Parameter(torch.full((scales,), log_std)) if scales else None

    @property
    def memory_size(self) -> int:
        """M, the numbers remembered per row; 0 without memory."""
        return self.actor.memory_size + (0 if self.critic is None else self.critic.memory_size)

    def forward(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Outputs and values of observations without memory."""
        obs = self.seen(obs)
        features = self.actor(obs)
        return self.heads(features, features if self.critic is None else self.critic(obs))

    def step(self, obs: Obs, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs and values of observations [N, ...] after the memory [N, M], and the memory after them."""
        of_actor, of_critic, memory = self.remembering(self.seen(obs), memory)
        return *self.heads(of_actor, of_critic), memory

    def decided(self, obs: Obs, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The actor's features [N, F], outputs and values after the memory [N, M], and the memory after them.

        Without a memory (None) a recurrent network begins with an empty one.
        """
        obs = self.seen(obs)
        if not self.memory_size:
            features = self.actor(obs)
            return features, *self.heads(features, features if self.critic is None else self.critic(obs)), None
        if memory is None:
            memory = self.policy.weight.new_zeros(_rows(obs), self.memory_size)
        features, of_critic, after = self.remembering(obs, memory)
        return features, *self.heads(features, of_critic), after

    def remembering(self, obs: Obs, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The features of both trunks for observations as they see them, and the memory after them."""
        mine, other = memory.tensor_split([self.actor.memory_size], 1)
        features, memory = self.actor.step(obs, mine)
        if self.critic is None:
            return features, features, memory
        of_critic, other = self.critic.step(obs, other)
        return features, of_critic, torch.cat([memory, other], 1)

    def sequence(self, obs: Obs, start: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and values of the observations [B * L, ...] of B sequences, each after its memory [B, M].

        `start`, bool [B, L], marks observations whose preceding memory is zero.
        """
        obs = self.seen(obs)
        mine, other = memory.tensor_split([self.actor.memory_size], 1)
        features = self.actor.sequence(obs, start, mine)
        of_critic = features if self.critic is None else self.critic.sequence(obs, start, other)
        return self.heads(features, of_critic)

    @property
    def backbones(self) -> tuple[nn.Module, ...]:
        """The backbone of each trunk."""
        return tuple(trunk.backbone for trunk in (self.actor, self.critic) if trunk is not None)

    def load_backbones(self, weights: Mapping[str, Tensor], norm: Mapping[str, Tensor] | None) -> None:
        """Load the same weights into all backbones, and statistics into the normalisation of observations."""
        for backbone in self.backbones:
            backbone.load_state_dict(weights)
        if norm is not None:
            assert self.norm is not None
            self.norm.load_state_dict(norm)

    def seen(self, obs: Obs) -> Any:
        """Observations as the trunks see them."""
        return obs if self.norm is None else self.norm(obs)

    def with_scales(self, output: Tensor) -> Tensor:
        """The outputs [B, P] of the policy's layer, and the log standard deviations after them."""
        if self.log_std is None:
            return output
        return torch.cat([output, self.log_std.expand(output.shape[0], -1)], 1)

    def heads(self, of_actor: Tensor, of_critic: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and values from the features [B, F] of the trunks."""
        return self.with_scales(self.policy(of_actor)), self.value(of_critic)
