"""GoogLeNet's inception network, with auxiliary classifiers by option."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gymnast.networks.backbones.branching import conv
from gymnast.networks.backbones.image import ImageBackbone, ImageOptions
from gymnast.networks.layers.blocks import NORMS, GlobalMean, Norm, constrain, pool
from gymnast.networks.layers.inputs import Obs


class InceptionModule(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and max pooling side by side, concatenated (Szegedy et al. 2015, figure 2b)."""

    def __init__(self, channels: int, plan: tuple[int, int, int, int, int, int], *, norm: str) -> None:
        """`plan`: channels of 1x1; of the reduction before 3x3 and of 3x3; the same of 5x5; of the pooling's 1x1."""
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = plan
        self.paths = nn.ModuleList(
            [
                conv(channels, one, 1, norm=norm),
                nn.Sequential(conv(channels, reduce3, 1, norm=norm), conv(reduce3, three, 3, norm=norm)),
                nn.Sequential(conv(channels, reduce5, 1, norm=norm), conv(reduce5, five, 5, norm=norm)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(channels, pooled, 1, norm=norm)),
            ]
        )
        self.out_channels = one + three + five + pooled

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([path(features) for path in self.paths], 1)


GOOGLENET = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""The modules 3a to 5b (Szegedy et al. 2015, table 1), by stage."""


@dataclass(frozen=True)
class InceptionOptions(ImageOptions):
    """GoogLeNet (Szegedy et al. 2015)."""

    width: float = 0.25
    """Factor of the channels; the paper's network is 1."""
    norm: Norm = "none"
    """Normalisation after each convolution: none, batch, layer, group, rms, weight or spectral."""
    auxiliary: bool = False
    """In gymnast fit classify: add the losses of two classifiers after earlier modules, with weight 0.3."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.width < 100.0:
            raise ValueError(f"width must be > 0, got {self.width}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")


class AuxiliaryClassifier(nn.Module):
    """Logits [B, classes] from the features [B, *planes] of an earlier module (Szegedy et al. 2015, section 5).

    Average pooling to 4x4, a 1x1 convolution to 128 channels, 1,024 units, dropout of 70%, and a linear layer; `width`
    is the factor of these channels and units.
    """

    def __init__(self, planes: tuple[int, int, int], classes: int, *, width: float) -> None:
        super().__init__()
        channels, height, breadth = planes
        size = min(4, height), min(4, breadth)
        reduced, units = (max(round(count * width), 1) for count in (128, 1024))
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(size),
            nn.Conv2d(channels, reduced, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(reduced * size[0] * size[1], units),
            nn.ReLU(),
            nn.Dropout(0.7),
        )
        self.output = nn.Linear(units, classes)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.output(self.body(features))
        return logits


BRANCHES = (0, 3)
"""Modules of the second stage (4a and 4d) after which the auxiliary classifiers are."""


class Inception(ImageBackbone):
    """GoogLeNet's nine modules with max pooling between the stages (Szegedy et al. 2015), without its local response
    normalisation.

    Images of 64 pixels or more begin with a 7x7 convolution of stride 2 and max pooling.
    """

    name, Options, sizes = "inception", InceptionOptions, ()
    options: InceptionOptions
    branches: dict[int, tuple[int, int, int]]
    """Layers of `body` whose outputs auxiliary classifiers read, and the planes of these; without the option none."""

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        def scaled(count: int) -> int:
            return max(round(count * self.options.width), 1)

        norm, self.branches = self.options.norm, {}
        layers: list[nn.Module] = []
        if min(height, width) >= 64:
            layers += [conv(channels, scaled(64), 7, norm=norm, stride=2)]
            pooling, height, width = pool((height - 1) // 2 + 1, (width - 1) // 2 + 1)
            layers += [pooling]
            channels = scaled(64)
        layers += [conv(channels, scaled(64), 1, norm=norm), conv(scaled(64), scaled(192), 3, norm=norm)]
        channels = scaled(192)
        for number, stage in enumerate(GOOGLENET):
            pooling, height, width = pool(height, width)
            layers.append(pooling)
            for place, plan in enumerate(stage):
                module = InceptionModule(channels, tuple(map(scaled, plan)), norm=norm)  # type: ignore[arg-type]
                layers.append(module)
                channels = module.out_channels
                if self.options.auxiliary and number == 1 and place in BRANCHES:
                    self.branches[len(layers) - 1] = (channels, height, width)
        return nn.Sequential(*layers, GlobalMean())

    def auxiliary(self, obs: Obs) -> tuple[Tensor, list[Tensor]]:
        """Observations [B, ...] to features [B, out_features], and those of `branches`, each [B, C, H, W]."""
        features = self.planes(obs)
        branches = []
        for number, layer in enumerate(self.body):
            features = layer(features)
            if number in self.branches:
                branches.append(features)
        return self.onward(features.flatten(1)), branches

    def finish(self) -> None:
        constrain(self.body, self.options.norm)
