"""LeNet-5, AlexNet and VGG."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gymnast.networks.backbones.image import ImageBackbone, ImageOptions
from gymnast.networks.layers.blocks import NORMS, Norm, constrain, normalisation, pool


@dataclass(frozen=True)
class LeNet5Options(ImageOptions):
    """LeNet-5 (LeCun et al. 1998)."""


class LeNet5(ImageBackbone):
    """Two 5x5 convolutions with average pooling, and 120 and 84 units (LeCun et al. 1998).

    The pooling has no coefficients of its own, and the second convolution sees all planes of the first. Images below 20
    pixels are padded.
    """

    name, Options, sizes = "lenet5", LeNet5Options, (120, 84)

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        padding = 0 if min(height, width) >= 20 else 2
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=padding),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5, padding=padding),
            nn.Tanh(),
            nn.AvgPool2d(2) if min(height, width) >= 8 else nn.Identity(),
        )


@dataclass(frozen=True)
class AlexNetOptions(ImageOptions):
    """AlexNet (Krizhevsky et al. 2012)."""

    width: float = 0.25
    """Factor of the channels; the paper's network is 1."""
    dropout: float = 0.0
    """Share of the features before the fully connected layers that are dropped in training; the paper has 0.5."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.width < 100.0:
            raise ValueError(f"width must be > 0, got {self.width}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be >= 0 and < 1, got {self.dropout}")


class AlexNet(ImageBackbone):
    """Five convolutions with overlapping max pooling (Krizhevsky et al. 2012), without local response normalisation.

    Images below 63 pixels begin with a 3x3 convolution of stride 1 instead of 11x11 of stride 4.
    """

    name, Options, sizes = "alexnet", AlexNetOptions, (512, 512)
    options: AlexNetOptions

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        def scaled(count: int) -> int:
            return max(round(count * self.options.width), 1)

        large = min(height, width) >= 63
        kernel, stride, padding = (11, 4, 2) if large else (3, 1, 1)
        layers: list[nn.Module] = [nn.Conv2d(channels, scaled(96), kernel, stride, padding), nn.ReLU()]
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
        plan = ((96, 256, 5, True), (256, 384, 3, True), (384, 384, 3, False), (384, 256, 3, False))
        for before, after, size, pooled in plan:
            if pooled:
                pooling, height, width = pool(height, width)
                layers.append(pooling)
            layers += [nn.Conv2d(scaled(before), scaled(after), size, padding=size // 2), nn.ReLU()]
        return nn.Sequential(*layers, pool(height, width)[0], nn.Flatten(), nn.Dropout(self.options.dropout))


VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of each stage (Simonyan & Zisserman 2015, table 1), by the number of layers with weights."""


@dataclass(frozen=True)
class VGGOptions(ImageOptions):
    """VGG (Simonyan & Zisserman 2015)."""

    depth: int = 11
    """Layers with weights of the paper's network: 11, 13, 16 or 19."""
    width: int = 16
    """Channels of the first stage, doubled up to three times; the paper has 64."""
    norm: Norm = "none"
    """Normalisation after each convolution: none, batch, layer, group, rms, weight or spectral."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth not in VGG_STAGES:
            raise ValueError(f"depth must be one of {', '.join(map(str, VGG_STAGES))}, got {self.depth}")
        if self.width < 1:
            raise ValueError(f"width must be >= 1, got {self.width}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")


class VGG(ImageBackbone):
    """Stages of 3x3 convolutions, each followed by max pooling (Simonyan & Zisserman 2015).

    There are as many stages as the size of the images allows.
    """

    name, Options, sizes = "vgg", VGGOptions, (256,)
    options: VGGOptions

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        layers: list[nn.Module] = []
        for stage, count in enumerate(VGG_STAGES[self.options.depth]):
            after = self.options.width * 2 ** min(stage, 3)
            for _ in range(count):
                layers += [
                    nn.Conv2d(channels, after, 3, padding=1),
                    normalisation(self.options.norm, after),
                    nn.ReLU(),
                ]
                channels = after
            pooling, height, width = pool(height, width, kernel=2)
            layers.append(pooling)
            if min(height, width) < 4:
                break
        return nn.Sequential(*layers)

    def finish(self) -> None:
        constrain(self.body, self.options.norm)
