"""The base of the backbones in the table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
from torch import Tensor, nn

from gymnast.networks.backbones.mlp import dense, norms, through
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.inputs import Obs


class Backbone(nn.Module, ABC):
    """Observations [B, ...] as one vector, then fully connected layers of `hidden_sizes`; to [B, out_features].

    A family writes `prepare`, which makes its own layers, and `read`, which computes the vector. With `layer_norm` the
    fully connected layers are normalised before their activation (Ba et al. 2016).

    Raises:
        ValueError: observations that the family does not read, or an unknown activation.
    """

    name: ClassVar[str]
    """Its name in the table and in messages."""
    Options: ClassVar[type[Any]]
    """Frozen dataclass of its options, whose fields are flags."""
    sizes: ClassVar[tuple[int, ...]] = ()
    """Default units of the fully connected layers."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        hidden_sizes: Sequence[int] | None = None,
        *,
        options: Any = None,
        activation: str = "relu",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.options = self.Options() if options is None else options
        self.activation, self.layer_norm = activation, layer_norm
        width = self.prepare(observation_space)
        sizes = self.sizes if hidden_sizes is None else tuple(hidden_sizes)
        self.layers, self.norms = dense([width, *sizes]), norms(sizes, layer_norm)
        self.out_features = int(sizes[-1] if sizes else width)

    @abstractmethod
    def prepare(self, space: gym.Space[Any]) -> int:
        """Make the layers that `read` needs; returns the width of its vector."""

    @abstractmethod
    def read(self, obs: Obs) -> Tensor:
        """Observations as vectors [B, width]."""

    def finish(self) -> None:
        """Called once the weights have their initial values."""

    def forward(self, obs: Obs) -> Tensor:
        return through(self.read(obs), self.layers, self.norms, self.activation)
