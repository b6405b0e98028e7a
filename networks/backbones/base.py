"""The base of the backbones in the table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.dense import dense, spread, through
from gymnast.networks.layers.init import initialise
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
        check_activation(activation)
        self.options = self.Options() if options is None else options
        self.activation, self.layer_norm = activation, layer_norm
        # Of the fully connected layers; `prepare` may set others.
        self.norm, self.shortcuts = "layer" if layer_norm else "none", False
        self.dropout: nn.Dropout | None = None
        self.hidden_sizes = tuple(self.sizes if hidden_sizes is None else hidden_sizes)
        width = self.prepare(observation_space)
        self.layers, self.norms, self.activations, self.out_features = dense(
            width, self.hidden_sizes, activation=self.activation, norm=self.norm, shortcuts=self.shortcuts
        )

    @abstractmethod
    def prepare(self, space: gym.Space[Any]) -> int:
        """Make the layers that `read` needs; returns the width of its vector."""

    @abstractmethod
    def read(self, obs: Obs) -> Tensor:
        """Observations as vectors [B, width]."""

    def draw(self, init: str, *, generator: torch.Generator) -> None:
        """Draw the initial weights."""
        initialise(self, init, activation=self.activation, generator=generator)

    def finish(self) -> None:
        """Called once the weights have their initial values."""

    def forward(self, obs: Obs) -> Tensor:
        return self.onward(self.read(obs))

    def onward(self, vector: Tensor) -> Tensor:
        """Vectors [..., width] through the fully connected layers, to [..., out_features]."""
        parts = vector, self.layers, self.norms, self.activations
        if self.shortcuts or self.dropout is not None:
            return spread(*parts, dropout=self.dropout, shortcuts=self.shortcuts)
        return through(*parts)


def one_norm(name: str, norm: str, layer_norm: bool) -> str:
    """The normalisation of a backbone whose option `norm` covers the layers that `layer_norm` covers too.

    Raises:
        ValueError: both are given.
    """
    if layer_norm and norm != "none":
        raise ValueError(
            f"network {name}: norm {norm} cannot be combined with layer_norm, which normalises the same layers"
        )
    return "layer" if layer_norm else norm


def check_share(name: str, share: float) -> None:
    """Raise ValueError for a share outside [0, 1)."""
    if not 0.0 <= share < 1.0:
        raise ValueError(f"{name} must be >= 0 and < 1, got {share}")
