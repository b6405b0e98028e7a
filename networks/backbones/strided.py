"""The discriminator of DCGAN as a backbone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gymnast.networks.backbones.image import ImageBackbone, ImageOptions
from gymnast.networks.layers.blocks import NORMS, Norm, constrain, normalisation

KERNEL = 4
DEEPEST = 4
"""Convolutions, at most."""
SLOPE = 0.2
"""Slope of the leaky ReLU below 0."""


@dataclass(frozen=True)
class DCGANOptions(ImageOptions):
    """Strided convolutions (Radford et al. 2016)."""

    width: int = 16
    """Channels of the first convolution, doubled by each; the paper has 64 or 128."""
    norm: Norm = "batch"
    """Normalisation of all convolutions but the first: none, batch, layer, group, rms, weight or spectral."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width must be >= 1, got {self.width}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")


class DCGAN(ImageBackbone):
    """4x4 convolutions that halve the sides, without pooling, and leaky ReLUs (Radford et al. 2016, section 3).

    There are up to four, while the shorter side is at least 4; the first is not normalised. No fully connected layers
    follow unless `hidden_sizes` ask for them.
    """

    name, Options, sizes = "dcgan", DCGANOptions, ()
    options: DCGANOptions

    def make(self, channels: int, height: int, width: int) -> nn.Module:
        layers: list[nn.Module] = []
        for number in range(DEEPEST):
            if number and min(height, width) < KERNEL:
                break
            after = self.options.width * 2**number
            layers.append(nn.Conv2d(channels, after, KERNEL, stride=2, padding=1 if min(height, width) > 1 else 2))
            layers += [normalisation(self.options.norm if number else "none", after), nn.LeakyReLU(SLOPE)]
            channels, height, width = after, height // 2, width // 2
        return nn.Sequential(*layers)

    def finish(self) -> None:
        constrain(self.body, self.options.norm)
