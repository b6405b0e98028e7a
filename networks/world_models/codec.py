"""From observations to tokens, and from a model's state back to observations."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.world_models.layers import RMSNorm, hidden
from gymnast.networks.world_models.observed import SMALLEST, Part

WIDTHS = (2, 3, 4, 4)
"""Channels of the convolutions from the outermost inward, in multiples of `depth`; further ones repeat the last."""
KERNEL = 4
"""Side of the convolutions, whose stride is 2."""


class Encoder(nn.Module):
    """Observations [B, ...] to tokens [B, tokens]: images by convolutions, the other parts by one MLP."""

    def __init__(self, parts: list[Part], *, depth: int, units: int, layers: int) -> None:
        super().__init__()
        self.parts = parts
        self.images = nn.ModuleList([ImageEncoder(part.planes, depth=depth) for part in parts if part.layout])
        vectors = sum(part.size for part in parts if part.layout is None)
        self.vectors = hidden([vectors, *[units] * layers]) if vectors else None
        images = sum(image.tokens for image in self.images if isinstance(image, ImageEncoder))
        self.tokens = images + (units if vectors else 0)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Of each part's `inputs`."""
        images = [part for part in inputs if part.dim() == 4]
        tokens = [encoder(image) for encoder, image in zip(self.images, images, strict=True)]
        if self.vectors is not None:
            tokens.append(self.vectors(torch.cat([part for part in inputs if part.dim() == 2], 1)))
        return torch.cat(tokens, 1)


class Decoder(nn.Module):
    """A state's features [B, F] to the outputs of each part: [B, C, H, W] or [B, K]."""

    def __init__(self, features: int, parts: list[Part], *, depth: int, units: int, layers: int) -> None:
        super().__init__()
        self.parts = parts
        images = [ImageDecoder(features, part.planes, depth=depth) for part in parts if part.layout]
        self.images = nn.ModuleList(images)
        self.sizes = [part.size for part in parts if part.layout is None]
        self.vectors: nn.Module | None = None
        if self.sizes:
            self.vectors = nn.Sequential(hidden([features, *[units] * layers]), nn.Linear(units, sum(self.sizes)))

    def forward(self, features: Tensor) -> list[Tensor]:
        images = iter([decoder(features) for decoder in self.images])
        vectors = iter(() if self.vectors is None else self.vectors(features).split(self.sizes, 1))
        return [next(images) if part.layout else next(vectors) for part in self.parts]


class ImageEncoder(nn.Module):
    """Planes [B, C, H, W] to [B, tokens] by convolutions of stride 2, until the shorter side is below 8."""

    def __init__(self, planes: tuple[int, int, int], *, depth: int) -> None:
        super().__init__()
        sizes, channels = _stages(planes, depth)
        layers: list[nn.Module] = []
        for a, b in pairwise(channels):
            layers += [nn.Conv2d(a, b, KERNEL, 2, 1), ImageNorm(b)]
        self.layers = nn.Sequential(*layers)
        self.tokens = channels[-1] * math.prod(sizes[-1])

    def forward(self, planes: Tensor) -> Tensor:
        tokens: Tensor = self.layers(planes - 0.5)
        return tokens.permute(0, 2, 3, 1).flatten(1)


class ImageDecoder(nn.Module):
    """Features [B, F] to planes [B, C, H, W] by transposed convolutions, the mirror image of the encoder."""

    def __init__(self, features: int, planes: tuple[int, int, int], *, depth: int) -> None:
        super().__init__()
        sizes, channels = _stages(planes, depth)
        self.smallest = (*sizes[-1], channels[-1])
        self.first = nn.Linear(features, math.prod(self.smallest))
        self.norm = ImageNorm(channels[-1])
        layers: list[nn.Module] = []
        outward = list(zip(sizes, channels, strict=True))[::-1]
        for (_, inner), ((height, width), outer) in pairwise(outward):
            layers.append(nn.ConvTranspose2d(inner, outer, KERNEL, 2, 1, output_padding=(height % 2, width % 2)))
            layers.append(ImageNorm(outer))
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        smallest = self.first(features).view(-1, *self.smallest).permute(0, 3, 1, 2)
        planes: Tensor = self.layers(self.norm(smallest))
        return planes


class ImageNorm(nn.Module):
    """`RMSNorm` over the channels of each position of planes [B, C, H, W] in channels-last memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels)

    def forward(self, planes: Tensor) -> Tensor:
        return functional.silu(self.norm.normed(planes.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def _stages(planes: tuple[int, int, int], depth: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Sizes (height, width) and channels of the planes after each convolution, the image's own first."""
    channel, *size = planes
    sizes, channels = [(size[0], size[1])], [channel]
    while min(sizes[-1]) >= SMALLEST:
        height, width = sizes[-1]
        channels.append(depth * WIDTHS[min(len(sizes), len(WIDTHS)) - 1])
        sizes.append((height // 2, width // 2))
    return sizes, channels
