"""Convolutional networks for images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.backbones.mlp import dense, norms
from gymnast.networks.layers.blocks import ChannelNorm
from gymnast.networks.layers.images import Layout
from gymnast.networks.layers.inputs import Obs


class ConvNet(nn.Module):
    """Rectified convolutions, flattened, and fully connected layers; images to [B, out_features].

    Images are [B, C, H, W], or in another `Layout`.

    uint8 pixels are scaled by 1/255 here, so that they stay uint8 everywhere else; other images are read as they are.
    With `layer_norm` each layer's output is normalised before it is rectified (Ba et al. 2016), after a convolution
    over the channels of each position.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        hidden_sizes: Sequence[int],
        *,
        name: str,
        convolutions: Sequence[tuple[int, int, int]],
        layer_norm: bool = False,
        layout: Layout | None = None,
    ) -> None:
        """`convolutions` are (channels, kernel, stride), one after the other; `layout` is by default the space's."""
        super().__init__()
        space = observation_space
        layout = Layout.of(space) if layout is None else layout
        if layout is None:
            raise ValueError(
                f"network {name} needs images [C, H, W] or [H, W, C], got {space}; mlp takes any observation"
            )
        self.layout = layout
        channels, height, width = seen = layout.planes
        self.scale = 1 / 255 if space.dtype == np.uint8 else 1.0
        self.bf16 = False  # compute the convolutions in bfloat16; all weights stay float32
        self.convolutions, self.channel_norms = nn.ModuleList(), nn.ModuleList()
        for out_channels, kernel, stride in convolutions:
            self.convolutions.append(nn.Conv2d(channels, out_channels, kernel, stride=stride))
            self.channel_norms.append(ChannelNorm(out_channels) if layer_norm else nn.Identity())
            height, width = ((size - kernel) // stride + 1 for size in (height, width))
            channels = out_channels
            if min(height, width) < 1:
                raise ValueError(f"network {name} needs larger images than {seen[1]}x{seen[2]}; use mlp")
        self.layers = dense([channels * height * width, *hidden_sizes])
        self.norms = norms(hidden_sizes, layer_norm)
        self.out_features = int(hidden_sizes[-1] if hidden_sizes else channels * height * width)
        # Pixel by pixel, as oneDNN computes: gradients of the 8x8 convolution take 3 ms and not 8 (batch 32, one core).
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, obs: Obs) -> Tensor:
        features = self.feature_map(pixels(self.layout.to_planes(obs)).mul_(self.scale))
        features = features.flatten(1).float()
        for layer, norm in zip(self.layers, self.norms, strict=True):
            features = torch.relu(norm(layer(features)))
        return features

    def feature_map(self, features: Tensor) -> Tensor:
        """Images [B, C, H, W], scaled, after the convolutions."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self.bf16):
            for convolution, norm in zip(self.convolutions, self.channel_norms, strict=True):
                features = norm(convolution(features))
                # Not in place on a normalised image, which is a view: autograd would copy its gradient, pixel by pixel.
                features = torch.relu_(features) if isinstance(norm, nn.Identity) else torch.relu(features)
        return features


class NatureCNN(ConvNet):
    """Three convolutions, 8x8 to 3x3, and 512 units (Mnih et al. 2015, Methods); images [B, C, H, W]."""

    def __init__(
        self, observation_space: gym.Space[Any], hidden_sizes: Sequence[int] = (512,), *, layer_norm: bool = False
    ) -> None:
        convolutions = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
        super().__init__(
            observation_space, hidden_sizes, name="nature-cnn", convolutions=convolutions, layer_norm=layer_norm
        )


class EfficientCNN(ConvNet):
    """Two convolutions of 5x5 with stride 5, and 256 units (data-efficient Rainbow, van Hasselt et al. 2019)."""

    def __init__(
        self, observation_space: gym.Space[Any], hidden_sizes: Sequence[int] = (256,), *, layer_norm: bool = False
    ) -> None:
        convolutions = ((32, 5, 5), (64, 5, 5))
        super().__init__(
            observation_space, hidden_sizes, name="efficient-cnn", convolutions=convolutions, layer_norm=layer_norm
        )


class MinAtarCNN(nn.Module):
    """One convolution of 3x3 and 128 units (Young & Tian 2019); images [B, H, W, C], as MinAtar gives them."""

    def __init__(
        self, observation_space: gym.Space[Any], hidden_sizes: Sequence[int] = (128,), *, layer_norm: bool = False
    ) -> None:
        super().__init__()
        space = observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 3:
            raise ValueError(f"network minatar-cnn needs images [H, W, C], got {space}; mlp takes any observation")
        height, width, channels = space.shape
        channels_first = spaces.Box(0, 1, (channels, height, width), np.float32)
        convolutions = ((16, 3, 1),)
        self.network = ConvNet(
            channels_first,
            hidden_sizes,
            name="minatar-cnn",
            convolutions=convolutions,
            layer_norm=layer_norm,
            layout=Layout(channels_first.shape, is_last=False),
        )
        self.out_features = self.network.out_features
        self.layout = self.network.layout

    def feature_map(self, features: Tensor) -> Tensor:
        """Images [B, C, H, W] after the convolution."""
        return self.network.feature_map(features)

    def forward(self, obs: Obs) -> Tensor:
        features: Tensor = self.network(obs.movedim(-1, 1).float())
        return features


def pixels(obs: Tensor) -> Tensor:
    """A float32 copy of images [B, C, H, W] in channels-last memory."""
    packed = obs.dtype == torch.uint8 and obs.shape[1] == 4 and obs.device.type == "cpu" and sys.byteorder == "little"
    if not packed or torch.compiler.is_compiling():
        # At twice the speed of a copy to channels_last.
        return torch.stack(obs.unbind(1), -1).float().permute(0, 3, 1, 2)
    planes = obs.int().unbind(1)
    words = planes[3] << 8  # the four bytes of a pixel as one number: at twice the speed of stacking them
    for plane in (planes[2], planes[1]):
        words.bitwise_or_(plane).bitwise_left_shift_(8)
    words.bitwise_or_(planes[0])
    return words.view(torch.uint8).view(*words.shape, 4).float().permute(0, 3, 1, 2)


CNNS = {"nature-cnn": NatureCNN, "efficient-cnn": EfficientCNN, "minatar-cnn": MinAtarCNN}
"""Convolutional backbones by name."""
