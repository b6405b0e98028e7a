"""The base of backbones for images: any layout in, a body of convolutions, fully connected layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.networks.backbones.mlp import dense, norms
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.blocks import GlobalMean
from gymnast.networks.layers.images import Axis, Layout
from gymnast.networks.layers.inputs import Obs


@dataclass(frozen=True)
class ImageOptions:
    """Options of every backbone for images."""

    channels_axis: Axis = "auto"
    """Where the channels are: first [C, H, W], last [H, W, C], or auto: last if that axis is the smallest."""

    def __post_init__(self) -> None:
        if self.channels_axis not in get_args(Axis):
            raise ValueError(f"channels_axis must be auto, first or last, got {self.channels_axis!r}")


class ImageBackbone(nn.Module, ABC):
    """Images of any layout that `Layout` knows to features [B, out_features].

    A family writes `make`, the body from [B, C, H, W] to [B, ...]; its output is flattened and goes through fully
    connected layers of `hidden_sizes`, an activation after each. uint8 pixels are scaled by 1/255 here.

    Raises:
        ValueError: observations that are no images, or options that the family refuses.
    """

    name: ClassVar[str]
    Options: ClassVar[type[ImageOptions]]
    sizes: ClassVar[tuple[int, ...]] = (256,)
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
        self.options = self.Options() if options is None else options
        layout = Layout.of(observation_space, self.options.channels_axis)
        if layout is None:
            raise ValueError(
                f"network {self.name} needs images [C, H, W] or [H, W, C], got {observation_space}; "
                "mlp takes any observation"
            )
        self.layout = layout
        self.scale = 1 / 255 if observation_space.dtype == np.uint8 else 1.0
        self.body = self.make(*layout.planes)
        sizes = self.sizes if hidden_sizes is None else tuple(hidden_sizes)
        with torch.no_grad():
            width = self.body.eval()(torch.zeros(1, *layout.planes)).numel()
        self.body.train()
        self.layers = dense([width, *sizes])
        self.norms = norms(sizes, layer_norm)
        self.activation = activation
        self.out_features = int(sizes[-1] if sizes else width)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @abstractmethod
    def make(self, channels: int, height: int, width: int) -> nn.Module:
        """The body: [B, channels, height, width] to [B, ...]."""

    def finish(self) -> None:
        """Called once the weights have their initial values."""

    def feature_map(self, features: Tensor) -> Tensor:
        """Images [B, C, H, W], scaled, after the body up to its last feature map."""
        layers = list(self.body) if isinstance(self.body, nn.Sequential) else [self.body]
        for layer in layers:
            if isinstance(layer, nn.Flatten | GlobalMean | nn.AdaptiveMaxPool2d):
                break
            features = layer(features)
        return features

    def images(self, obs: Obs) -> Tensor:
        """The images as float32 [B, C, H, W]."""
        return self.layout.to_planes(obs).float().mul(self.scale)

    def forward(self, obs: Obs) -> Tensor:
        features: Tensor = self.body(self.images(obs)).flatten(1)
        activate = ACTIVATIONS[self.activation]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            features = activate(norm(layer(features)))
        return features
