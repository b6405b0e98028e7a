"""Decoders: latents as vectors or as images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gymnast.networks.layers.blocks import normalisation
from gymnast.networks.layers.dense import dense, through
from gymnast.networks.layers.init import initialise

SMALLEST = 7
"""Pixels of the shorter side at which an image begins to grow, at most."""
WIDEST = 4
"""Factor of the channels of the innermost layers, at most."""
KERNEL = 4
"""Side of the transposed convolutions: twice their stride, so that each pixel has as many inputs as its neighbours."""
GAIN = 1e-4
"""Of the last layer of an image decoder, so that it starts at the mean of the data."""


class VectorDecoder(nn.Module):
    """Latents [B, L] through fully connected layers of `hidden_sizes` to [B, outputs]; none of them is linear."""

    def __init__(
        self,
        latent: int,
        outputs: int,
        hidden_sizes: Sequence[int],
        *,
        activation: str,
        norm: str = "none",
        init: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.norms, self.activations, width = dense(latent, hidden_sizes, activation=activation, norm=norm)
        self.output = nn.Linear(width, outputs)
        initialise(self, init, activation=activation, generator=generator)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the biases of the output, [outputs]."""
        self.output.bias.copy_(mean)

    def forward(self, latent: Tensor) -> Tensor:
        output: Tensor = self.output(through(latent, self.layers, self.norms, self.activations))
        return output


class ImageDecoder(nn.Module):
    """Latents [B, L] to images [B, C, H, W] by transposed convolutions that double the sides, of any size from 4x4.

    The first layer is fully connected; the sides it gives are those of the image halved and rounded up, again and again
    until the shorter one is at most 7. What doubling adds beyond the next size is cut off. `channels` are those of the
    last layer but one, and double inwards. `norm` normalises all layers but the last (batch: Radford et al. 2016).
    Every pixel has a bias of its own: a background that never changes takes nothing of the latent and the layers.
    `gain` is that of the last layer's first weights, where He et al. 2015 have 2: the output starts near the biases.
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, int, int],
        *,
        channels: int,
        norm: str = "none",
        gain: float = GAIN,
        init: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        planes, height, width = shape
        half = (height + 1) // 2, (width + 1) // 2  # it doubles once at least
        self.sizes = [*halved(*half, until=lambda shorter: shorter <= SMALLEST), (height, width)]
        steps = len(self.sizes) - 1
        widths = [planes, *(channels * min(2**step, WIDEST) for step in range(steps))][::-1]
        self.bf16 = False  # compute the convolutions in bfloat16; all weights stay float32
        self.first = (widths[0], *self.sizes[0])
        self.dense = nn.Linear(latent, math.prod(self.first))
        self.layers, self.norms = growing(widths, self.sizes, norm=norm)
        initialise(self.dense, init, activation="relu", generator=generator)
        draw(self.layers, gain=gain, generator=generator)
        self.bias = nn.Parameter(torch.zeros(shape))

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the biases of the pixels, [C, H, W]."""
        self.bias.copy_(mean)

    def forward(self, latent: Tensor) -> Tensor:
        images = self.dense(latent).view(-1, *self.first).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            images = grow(images, self.layers, self.norms, self.sizes)
        found: Tensor = images.float() + self.bias
        return found


def halved(height: int, width: int, *, until: Callable[[int], bool]) -> list[tuple[int, int]]:
    """Sides of an image, halved and rounded up until the shorter one is so; from the smallest to its own."""
    sizes = [(height, width)]
    while not until(min(sizes[-1])):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes[::-1]


def growing(
    widths: Sequence[int], sizes: Sequence[tuple[int, int]], *, norm: str
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Layers from images of each size to the next, and what normalises their inputs; the last one has no bias.

    Sides are doubled by transposed convolutions. Where they stay, a 3x3 convolution takes the place of one.
    """
    layers = nn.ModuleList()
    for number, (one, other) in enumerate(pairwise(widths)):
        bias = number < len(widths) - 2
        if sizes[number] == sizes[number + 1]:
            layers.append(nn.Conv2d(one, other, 3, padding=1, bias=bias))
        else:
            layers.append(nn.ConvTranspose2d(one, other, KERNEL, stride=2, padding=1, bias=bias))
    return layers, nn.ModuleList(normalisation(norm, width) for width in widths[:-1])


@torch.no_grad()
def draw(layers: nn.ModuleList, *, gain: float, generator: torch.Generator) -> None:
    """Draw the weights of `growing` layers as He et al. 2015, those of the last one with another gain than 2."""
    for number, layer in enumerate(layers):
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        read = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
        layer.weight.normal_(0.0, math.sqrt((gain if number == len(layers) - 1 else 2.0) / read), generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def grow(images: Tensor, layers: nn.ModuleList, norms: nn.ModuleList, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Images [B, C, *sizes[0]] through `growing` layers, each after a ReLU, cut to the sizes that follow."""
    for norm, layer, (height, width) in zip(norms, layers, sizes[1:], strict=True):
        images = layer(norm(images).relu())[..., :height, :width]
    return images


def decoder(
    latent: int,
    shape: tuple[int, ...],
    *,
    hidden_sizes: Sequence[int],
    channels: int,
    activation: str,
    norm: str = "none",
    gain: float = GAIN,
    init: str,
    generator: torch.Generator,
) -> VectorDecoder | ImageDecoder:
    """A decoder of latents [B, L] to [B, *shape]: of vectors [K], or of images [C, H, W].

    `gain` is of images only.
    """
    if len(shape) == 3:
        return ImageDecoder(latent, shape, channels=channels, norm=norm, gain=gain, init=init, generator=generator)
    return VectorDecoder(
        latent, shape[0], hidden_sizes, activation=activation, norm=norm, init=init, generator=generator
    )
