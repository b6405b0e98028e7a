"""Residual networks: ResNet, IMPALA's, and squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gymnast.networks.backbones.image import ImageBackbone, ImageOptions
from gymnast.networks.layers.blocks import NORMS, GlobalMean, Norm, SqueezeExcitation, constrain, normalisation, pool


class BasicBlock(nn.Module):
    """x + F(x), F two 3x3 convolutions, then rectified (He et al. 2016, figure 2).

    The shortcut is a 1x1 convolution where stride or channels change. `wrap` goes around F.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        stride: int,
        norm: str,
        wrap: Callable[[nn.Module], nn.Module] = lambda block: block,
    ) -> None:
        super().__init__()
        self.residual = wrap(
            nn.Sequential(
                nn.Conv2d(channels, out_channels, 3, stride, 1),
                normalisation(norm, out_channels),
                nn.ReLU(),
                nn.Conv2d(out_channels, out_channels, 3, 1, 1),
                normalisation(norm, out_channels),
            )
        )
        same = stride == 1 and channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1, stride)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.shortcut(features) + self.residual(features))


@dataclass(frozen=True)
class ResNetOptions(ImageOptions):
    """ResNet of basic blocks (He et al. 2016)."""

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    """Blocks of each stage; the paper's ResNet-18 has 2 2 2 2, ResNet-34 3 4 6 3."""
    width: int = 16
    """Channels of the first stage, doubled in each further one; the paper has 64."""
    norm: Norm = "group"
    """Normalisation after each convolution: none, batch (the paper's), layer, group, rms, weight or spectral."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.blocks or min(self.blocks) < 1:
            raise ValueError(f"blocks must be numbers >= 1, got {self.blocks}")
        if self.width < 1:
            raise ValueError(f"width must be >= 1, got {self.width}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")


class ResNet(ImageBackbone):
    """Stages of basic blocks, the mean over positions at the end (He et al. 2016).

    Images of 64 pixels or more begin with a 7x7 convolution of stride 2 and max pooling, smaller ones with 3x3. Stages
    halve the image while its shorter side is at least 4.
    """

    name, Options, sizes = "resnet", ResNetOptions, (256,)
    options: ResNetOptions

    def wrap(self, block: nn.Module, channels: int) -> nn.Module:
        """What goes around the residual function of a block."""
        return block

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        options = self.options
        large = min(height, width) >= 64
        kernel, stride = (7, 2) if large else (3, 1)
        after = options.width
        layers: list[nn.Module] = [
            nn.Conv2d(channels, after, kernel, stride, kernel // 2),
            normalisation(options.norm, after),
            nn.ReLU(),
        ]
        height, width = ((size - 1) // stride + 1 for size in (height, width))
        if large:
            pooling, height, width = pool(height, width)
            layers.append(pooling)
        before = after
        for stage, count in enumerate(options.blocks):
            after = options.width * 2**stage
            for index in range(count):
                halved = stage > 0 and index == 0 and min(height, width) >= 4
                layers.append(
                    BasicBlock(
                        before,
                        after,
                        stride=2 if halved else 1,
                        norm=options.norm,
                        wrap=lambda block, channels=after: self.wrap(block, channels),  # type: ignore[misc]
                    )
                )
                if halved:
                    height, width = ((size - 1) // 2 + 1 for size in (height, width))
                before = after
        return nn.Sequential(*layers, GlobalMean())

    def finish(self) -> None:
        constrain(self.body, self.options.norm)


@dataclass(frozen=True)
class SqueezeExcitationOptions(ResNetOptions):
    """ResNet whose blocks are gated by squeeze-and-excitation (Hu et al. 2018)."""

    reduction: int = 16
    """Channels per unit of the gate's hidden layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction < 1:
            raise ValueError(f"reduction must be >= 1, got {self.reduction}")


class SqueezeExcitationNet(ResNet):
    """`ResNet` with a gate on the channels of each block (Hu et al. 2018, figure 3)."""

    name, Options = "squeeze-excitation", SqueezeExcitationOptions
    options: SqueezeExcitationOptions

    def wrap(self, block: nn.Module, channels: int) -> nn.Module:
        return SqueezeExcitation(channels, reduction=self.options.reduction, block=block)


class PreBlock(nn.Module):
    """x + F(x), F two 3x3 convolutions of rectified inputs (Espeholt et al. 2018, figure 3); [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.second(torch.relu(self.first(torch.relu(features))))
        return features + residual


@dataclass(frozen=True)
class ImpalaOptions(ImageOptions):
    """The residual network of IMPALA (Espeholt et al. 2018)."""

    channels: tuple[int, ...] = (16, 32, 32)
    """Channels of each stage."""
    width: int = 1
    """Factor of the channels; BTR has 2."""
    spectral_norm: bool = False
    """Divide the weights of the convolutions in residual blocks by their largest singular value, as BTR does."""
    max_pool: int = 0
    """Side of an adaptive max pooling before the fully connected layers; 0 for none, 6 for BTR's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels must be numbers >= 1, got {self.channels}")
        for name, low in (("width", 1), ("max_pool", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be >= {low}, got {getattr(self, name)}")


class Impala(ImageBackbone):
    """Stages of a convolution, max pooling and two residual blocks (Espeholt et al. 2018, figure 3, right).

    Options make it that of BTR (Clark et al. 2024): twice the channels, spectral normalisation, adaptive max pooling to
    6x6. Stages halve the image while its shorter side is at least 4.
    """

    name, Options, sizes = "impala", ImpalaOptions, (256,)
    options: ImpalaOptions

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        layers: list[nn.Module] = []
        for count in self.options.channels:
            after = count * self.options.width
            pooling, height, width = pool(height, width)
            layers += [nn.Conv2d(channels, after, 3, padding=1), pooling, PreBlock(after), PreBlock(after)]
            channels = after
        layers.append(nn.ReLU())
        if self.options.max_pool:
            layers.append(nn.AdaptiveMaxPool2d(self.options.max_pool))
        return nn.Sequential(*layers)

    def finish(self) -> None:
        if self.options.spectral_norm:
            for block in self.body.modules():
                if isinstance(block, PreBlock):
                    constrain(block, "spectral")
