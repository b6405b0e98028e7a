"""Convolutional networks for images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.backbones.base import Backbone, check_share, one_norm
from gymnast.networks.backbones.image import ImageOptions
from gymnast.networks.layers.activations import activation, check_activation, functions
from gymnast.networks.layers.blocks import NORMS, Norm, constrain, normalisation
from gymnast.networks.layers.images import Axis, Layout
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.pixels import pixels


@dataclass(frozen=True)
class ConvNetOptions(ImageOptions):
    """Convolutions and fully connected layers."""

    activation: str = "relu"
    """Activation of all layers but the head's, convolutions included, instead of --activation."""
    norm: Norm = "none"
    """Normalisation before each activation: none, batch, layer, group, rms, weight or spectral."""
    dropout: float = 0.0
    """Share that is dropped in training, of the convolutions' output and of each layer's (Srivastava et al. 2014)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation(self.activation)
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        check_share("dropout", self.dropout)


@dataclass(frozen=True)
class MinAtarOptions(ConvNetOptions):
    """One convolution and a fully connected layer."""

    channels_axis: Axis = "last"
    """Where the channels are: first [C, H, W], last [H, W, C], or auto: last if that axis is the smallest."""


class ConvNet(Backbone):
    """Convolutions, flattened, and fully connected layers; images to [B, out_features].

    Images are [B, C, H, W], or in another `Layout`. All layers are rectified unless the options name another
    activation; `activation` is not theirs.

    uint8 pixels are scaled by 1/255 here, so that they stay uint8 everywhere else; other images are read as they are.
    With `layer_norm`, or the option `norm`, each layer's output is normalised before its activation (Ba et al. 2016),
    after a convolution over the channels of each position.
    """

    Options = ConvNetOptions
    options: ConvNetOptions
    convolved: ClassVar[Sequence[tuple[int, int, int]]]
    """(channels, kernel, stride) of the convolutions, one after the other."""

    def prepare(self, space: gym.Space[Any]) -> int:
        layout = Layout.of(space, self.options.channels_axis)
        if layout is None:
            raise ValueError(
                f"network {self.name} needs images [C, H, W] or [H, W, C], got {space}; mlp takes any observation"
            )
        options, self.layout = self.options, layout
        self.activation, self.norm = options.activation, one_norm(self.name, options.norm, self.layer_norm)
        self.scale = 1 / 255 if space.dtype == np.uint8 else 1.0
        self.bf16 = False  # compute the convolutions in bfloat16; all weights stay float32
        if options.dropout:
            self.dropout = nn.Dropout(options.dropout)
        return self._convolve(*layout.planes)

    def _convolve(self, channels: int, height: int, width: int) -> int:
        """Make the convolutions for images of this size; returns the size of their output."""
        seen = f"{height}x{width}"
        self.convolutions, self.channel_norms = nn.ModuleList(), nn.ModuleList()
        made = [activation(self.activation, count) for count, _, _ in self.convolved]
        for (_, kernel, stride), one in zip(self.convolved, made, strict=True):
            self.convolutions.append(nn.Conv2d(channels, one.in_features, kernel, stride=stride))
            self.channel_norms.append(normalisation(self.norm, one.in_features))
            height, width = ((size - kernel) // stride + 1 for size in (height, width))
            channels = one.out_features
            if min(height, width) < 1:
                raise ValueError(f"network {self.name} needs larger images than {seen}; use mlp")
        self.rectifiers = functions(made)
        if self.activation == "relu" and all(isinstance(norm, nn.Identity) for norm in self.channel_norms):
            # Not in place on a normalised image, which is a view: autograd would copy its gradient, pixel by pixel.
            self.rectifiers = [torch.relu_] * len(made)
        # Pixel by pixel, as oneDNN computes: gradients of the 8x8 convolution take 3 ms and not 8 (batch 32, one core).
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return channels * height * width

    def read(self, obs: Obs) -> Tensor:
        return self._dropped(self.feature_map(self.planes(obs)).flatten(1))

    def mapped(self, obs: Obs) -> Tensor:
        """The last feature map [B, C, h, w] of observations."""
        return self._dropped(self.feature_map(self.planes(obs)))

    def planes(self, obs: Obs) -> Tensor:
        """Observations as the convolutions take them, [B, C, H, W]."""
        return pixels(self.layout.to_planes(obs)).mul_(self.scale)

    def _dropped(self, features: Tensor) -> Tensor:
        return features.float() if self.dropout is None else self.dropout(features.float())

    def feature_map(self, features: Tensor) -> Tensor:
        """Images [B, C, H, W], scaled, after the convolutions."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self.bf16):
            for convolution, norm, activate in zip(self.convolutions, self.channel_norms, self.rectifiers, strict=True):
                features = activate(norm(convolution(features)))
        return features

    def finish(self) -> None:
        constrain(self, self.norm, linear=True)


class NatureCNN(ConvNet):
    """Three convolutions, 8x8 to 3x3, and 512 units (Mnih et al. 2015, Methods); images [B, C, H, W]."""

    name, sizes, convolved = "nature-cnn", (512,), ((32, 8, 4), (64, 4, 2), (64, 3, 1))


class A3CCNN(ConvNet):
    """Two convolutions, 8x8 and 4x4, and 256 units (Mnih et al. 2013; A3C, Mnih et al. 2016)."""

    name, sizes, convolved = "a3c-cnn", (256,), ((16, 8, 4), (32, 4, 2))


class EfficientCNN(ConvNet):
    """Two convolutions of 5x5 with stride 5, and 256 units (data-efficient Rainbow, van Hasselt et al. 2019)."""

    name, sizes, convolved = "efficient-cnn", (256,), ((32, 5, 5), (64, 5, 5))


class _MinAtarConvolution(ConvNet):
    name, sizes, convolved = "minatar-cnn", (128,), ((16, 3, 1),)


class MinAtarCNN(nn.Module):
    """One convolution of 3x3 and 128 units (Young & Tian 2019); images [B, H, W, C], as MinAtar gives them."""

    name, Options, sizes = "minatar-cnn", MinAtarOptions, (128,)

    def __init__(
        self,
        observation_space: gym.Space[Any],
        hidden_sizes: Sequence[int] | None = None,
        *,
        options: MinAtarOptions | None = None,
        activation: str = "relu",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        space, options = observation_space, MinAtarOptions() if options is None else options
        layout = Layout.of(space, options.channels_axis)
        if not isinstance(space, spaces.Box) or len(space.shape) != 3 or layout is None:
            raise ValueError(f"network minatar-cnn needs images [H, W, C], got {space}; mlp takes any observation")
        self._seen = layout
        planes = replace(options, channels_axis="first")
        self.network = _MinAtarConvolution(
            spaces.Box(0, 1, layout.planes, np.float32),  # not scaled, whatever their dtype
            hidden_sizes,
            options=planes,
            activation=activation,
            layer_norm=layer_norm,
        )
        self.out_features = self.network.out_features
        self.layout = self.network.layout

    def draw(self, init: str, *, generator: torch.Generator) -> None:
        """Draw the initial weights."""
        self.network.draw(init, generator=generator)

    def finish(self) -> None:
        """Called once the weights have their initial values."""
        self.network.finish()

    def feature_map(self, features: Tensor) -> Tensor:
        """Images [B, C, H, W] after the convolution."""
        return self.network.feature_map(features)

    def mapped(self, obs: Obs) -> Tensor:
        """The feature map [B, C, h, w] of observations."""
        return self.network.mapped(self._seen.to_planes(obs).float())

    def forward(self, obs: Obs) -> Tensor:
        features: Tensor = self.network(self._seen.to_planes(obs).float())
        return features
