"""Networks of parallel paths: DenseNet, Xception and Hadamax."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.backbones.image import ImageBackbone, ImageOptions
from gymnast.networks.layers.blocks import (
    NORMS,
    ChannelNorm,
    GlobalMean,
    Norm,
    Separable,
    constrain,
    normalisation,
    pool,
)


def conv(channels: int, out_channels: int, kernel: int, *, norm: str = "none", stride: int = 1) -> nn.Sequential:
    """A padded convolution, its normalisation, and a rectifier."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2), normalisation(norm, out_channels), nn.ReLU()
    )


class DenseBlock(nn.Module):
    """Layers that each read all features before them and add `growth` channels (Huang et al. 2017)."""

    def __init__(self, channels: int, layers: int, growth: int, *, norm: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                normalisation(norm, channels + index * growth),
                nn.ReLU(),
                nn.Conv2d(channels + index * growth, growth, 3, padding=1),
            )
            for index in range(layers)
        )
        self.out_channels = channels + layers * growth

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            features = torch.cat([features, layer(features)], 1)
        return features


@dataclass(frozen=True)
class DenseNetOptions(ImageOptions):
    """DenseNet (Huang et al. 2017)."""

    layers: tuple[int, ...] = (4, 4, 4)
    """Layers of each dense block."""
    growth: int = 12
    """Channels that each layer adds."""
    compression: float = 0.5
    """Share of the channels that a transition between blocks keeps."""
    norm: Norm = "group"
    """Normalisation before each convolution: none, batch (the paper's), layer, group, rms, weight or spectral."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or min(self.layers) < 1:
            raise ValueError(f"layers must be numbers >= 1, got {self.layers}")
        if self.growth < 1:
            raise ValueError(f"growth must be >= 1, got {self.growth}")
        if not 0.0 < self.compression <= 1.0:
            raise ValueError(f"compression must be > 0 and <= 1, got {self.compression}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")


class DenseNet(ImageBackbone):
    """Dense blocks with 1x1 convolutions and average pooling between them (Huang et al. 2017), without bottlenecks.

    Images of 64 pixels or more begin with a 7x7 convolution of stride 2 and max pooling.
    """

    name, Options, sizes = "densenet", DenseNetOptions, (256,)
    options: DenseNetOptions

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        options, layers = self.options, list[nn.Module]()
        after = 2 * options.growth
        if min(height, width) >= 64:
            layers.append(nn.Conv2d(channels, after, 7, 2, 3))
            pooling, height, width = pool((height - 1) // 2 + 1, (width - 1) // 2 + 1)
            layers.append(pooling)
        else:
            layers.append(nn.Conv2d(channels, after, 3, padding=1))
        channels = after
        for index, count in enumerate(options.layers):
            block = DenseBlock(channels, count, options.growth, norm=options.norm)
            layers.append(block)
            channels = block.out_channels
            if index + 1 < len(options.layers):
                after = max(int(channels * options.compression), 1)
                layers += [normalisation(options.norm, channels), nn.ReLU(), nn.Conv2d(channels, after, 1)]
                if min(height, width) >= 4:
                    layers.append(nn.AvgPool2d(2))
                    height, width = height // 2, width // 2
                channels = after
        return nn.Sequential(*layers, normalisation(options.norm, channels), nn.ReLU(), GlobalMean())

    def finish(self) -> None:
        constrain(self.body, self.options.norm)


class XceptionBlock(nn.Module):
    """Rectified separable convolutions beside a 1x1 shortcut (Chollet 2017, figure 5)."""

    def __init__(self, channels: int, out_channels: int, *, count: int, pooling: nn.Module, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for _ in range(count):
            layers += [nn.ReLU(), Separable(before, out_channels), normalisation(norm, out_channels)]
            before = out_channels
        self.layers = nn.Sequential(*layers, pooling)
        halves = not isinstance(pooling, nn.Identity)
        same = channels == out_channels and not halves
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1, 2 if halves else 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features) + self.shortcut(features)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class XceptionOptions(ImageOptions):
    """Xception (Chollet 2017)."""

    width: int = 16
    """Channels of the first convolution, doubled three times in the entry flow; the paper has 32."""
    middle: int = 2
    """Blocks of the middle flow; the paper has 8."""
    norm: Norm = "group"
    """Normalisation after each convolution: none, batch (the paper's), layer, group, rms, weight or spectral."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("width", 1), ("middle", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be >= {low}, got {getattr(self, name)}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")


class Xception(ImageBackbone):
    """Entry flow, middle flow and exit of depthwise separable convolutions (Chollet 2017), with fewer channels.

    Images are halved while their shorter side is at least 4.
    """

    name, Options, sizes = "xception", XceptionOptions, (256,)
    options: XceptionOptions

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        options = self.options
        stride = 2 if min(height, width) >= 64 else 1
        layers: list[nn.Module] = [conv(channels, options.width, 3, norm=options.norm, stride=stride)]
        height, width = ((size - 1) // stride + 1 for size in (height, width))
        channels = options.width
        for after in (2 * channels, 4 * channels, 8 * channels):
            pooling, height, width = pool(height, width)
            layers.append(XceptionBlock(channels, after, count=2, pooling=pooling, norm=options.norm))
            channels = after
        for _ in range(options.middle):
            layers.append(XceptionBlock(channels, channels, count=3, pooling=nn.Identity(), norm=options.norm))
        return nn.Sequential(*layers, Separable(channels, channels), nn.ReLU(), GlobalMean())

    def finish(self) -> None:
        constrain(self.body, self.options.norm)


class HadamaxBlock(nn.Module):
    """The product of two convolutions, each normalised and through a GELU, then max pooling (Kooi et al. 2025).

    Padded as TensorFlow's SAME: where it is odd, the extra row and column are last.
    """

    def __init__(self, channels: int, out_channels: int, *, kernel: int, window: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, out_channels, kernel) for _ in range(2))
        self.first_norm, self.second_norm = (ChannelNorm(out_channels) for _ in range(2))
        self.kernel, self.window, self.stride = kernel, window, stride

    def forward(self, features: Tensor) -> Tensor:
        padded = functional.pad(features, _around(self.kernel - 1) * 2)
        product = functional.gelu(self.first_norm(self.first(padded)), approximate="tanh") * functional.gelu(
            self.second_norm(self.second(padded)), approximate="tanh"
        )
        rows, columns = (self._missing(size) for size in product.shape[2:])
        padded = functional.pad(product, _around(columns) + _around(rows), value=-torch.inf)
        return functional.max_pool2d(padded, self.window, self.stride)

    def _missing(self, size: int) -> int:
        """Rows to add, so that the windows cover all of them: ceil(size / stride) windows."""
        return max((-(-size // self.stride) - 1) * self.stride + self.window - size, 0)


def _around(missing: int) -> tuple[int, int]:
    return missing // 2, missing - missing // 2


@dataclass(frozen=True)
class HadamaxOptions(ImageOptions):
    """The encoder of Hadamax-PQN (Kooi et al. 2025)."""

    channels: tuple[int, int, int] = (32, 64, 64)
    """Channels of the three blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.channels) < 1:
            raise ValueError(f"channels must be numbers >= 1, got {self.channels}")


class Hadamax(ImageBackbone):
    """Three blocks of max-pooled products of parallel convolutions, 8x8, 4x4 and 3x3 (Kooi et al. 2025).

    The fully connected layers of the paper are normalised and have GELUs: `--layer-norm` where an agent has it, and
    `--activation gelu`.
    """

    name, Options, sizes = "hadamax", HadamaxOptions, (512,)
    options: HadamaxOptions

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        first, second, third = self.options.channels
        return nn.Sequential(
            HadamaxBlock(channels, first, kernel=8, window=4, stride=4),
            HadamaxBlock(first, second, kernel=4, window=2, stride=2),
            HadamaxBlock(second, third, kernel=3, window=3, stride=1),
        )
