"""A slowly moving copy of a network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gymnast.networks.fast.flat import copy_buffers
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.modes import freeze


class Momentum(nn.Module):
    """An exponential average of a network's weights, without a gradient (He et al. 2020, eq. 2).

    It stays in evaluation mode: its dropout is off, and its batch normalisation takes the network's running statistics.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network, self.decay = freeze(copy.deepcopy(network)), decay

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Move a step towards the network."""
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - self.decay)
        copy_buffers(network, self.network)

    @torch.no_grad()
    def forward(self, obs: Obs) -> Tensor:
        features: Tensor = self.network(obs)
        return features
