"""The base of backbones for images: any layout in, a body of convolutions, fully connected layers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.networks.backbones.base import Backbone
from gymnast.networks.layers.blocks import GlobalMean
from gymnast.networks.layers.images import Axis, Layout
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.pixels import pixels

ENDS = (nn.Flatten, GlobalMean, nn.AdaptiveMaxPool2d)
"""Layers after the last feature map."""


@dataclass(frozen=True)
class ImageOptions:
    """Options of every backbone for images."""

    channels_axis: Axis = "auto"
    """Where the channels are: first [C, H, W], last [H, W, C], or auto: last if that axis is the smallest."""

    def __post_init__(self) -> None:
        if self.channels_axis not in get_args(Axis):
            raise ValueError(f"channels_axis must be auto, first or last, got {self.channels_axis!r}")


class ImageBackbone(Backbone):
    """Images of any layout that `Layout` knows through a body of convolutions, whose output is flattened.

    A family writes `make`, the body from [B, C, H, W] to [B, ...]. uint8 pixels are scaled by 1/255 here.
    """

    Options: ClassVar[type[ImageOptions]]
    sizes: ClassVar[tuple[int, ...]] = (256,)

    def prepare(self, space: gym.Space[Any]) -> int:
        layout = Layout.of(space, self.options.channels_axis)
        if layout is None:
            raise ValueError(
                f"network {self.name} needs images [C, H, W] or [H, W, C], got {space}; mlp takes any observation"
            )
        self.layout = layout
        self.scale = 1 / 255 if space.dtype == np.uint8 else 1.0
        self.body = self.make(*layout.planes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            width = self.body.eval()(torch.zeros(1, *layout.planes)).numel()
        self.body.train()
        return int(width)

    @abstractmethod
    def make(self, channels: int, height: int, width: int) -> nn.Module:
        """The body: [B, channels, height, width] to [B, ...]."""

    def feature_map(self, features: Tensor) -> Tensor:
        """Images [B, C, H, W], scaled, after the body up to its last feature map."""
        layers = list(self.body) if isinstance(self.body, nn.Sequential) else [self.body]
        for layer in layers:
            if isinstance(layer, ENDS):
                break
            features = layer(features)
        return features

    def mapped(self, obs: Obs) -> Tensor:
        """The last feature map [B, C, h, w] of observations, with the dropout that follows it if there is one."""
        features = self.feature_map(self.planes(obs))
        has_ended = False
        for layer in self.body if isinstance(self.body, nn.Sequential) else ():
            has_ended = has_ended or isinstance(layer, ENDS)
            features = layer(features) if has_ended and isinstance(layer, nn.Dropout) else features
        return features

    def planes(self, obs: Obs) -> Tensor:
        """Observations as the body takes them, [B, C, H, W]."""
        return pixels(self.layout.to_planes(obs)).mul_(self.scale)

    def read(self, obs: Obs) -> Tensor:
        features: Tensor = self.body(self.planes(obs)).flatten(1)
        return features
