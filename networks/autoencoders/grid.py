"""A grid of latents over an image: from a feature map, and back to the image."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gymnast.networks.autoencoders.decoders import GAIN, WIDEST, draw, grow, growing, halved
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Obs

BLOCKS = 2
"""Residual blocks of a decoder."""
Pair = tuple[int, int]


@runtime_checkable
class Maps(Protocol):
    """A backbone with convolutions over images."""

    def mapped(self, obs: Obs) -> Tensor:
        """The last feature map [B, C, h, w] of observations."""
        ...


def windows(lengths: Pair, side: int) -> tuple[Pair, Pair]:
    """Kernel and stride of a convolution without padding from maps of these sides to a grid of `side` x `side`.

    Every position is read, and windows overlap only where the sides are no multiples of the grid's.
    """
    strides = lengths[0] // side, lengths[1] // side
    return (lengths[0] - (side - 1) * strides[0], lengths[1] - (side - 1) * strides[1]), strides


class ToGrid(nn.Module):
    """Feature maps [B, C, h, w] to `code_size` numbers of each cell of a grid, [B, G * G * code_size], row by row.

    It is one convolution, whose windows are the cells.

    Raises:
        ValueError: a map with fewer rows or columns than the grid.
    """

    def __init__(
        self, shape: tuple[int, int, int], *, code_grid: int, code_size: int, init: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if code_grid > min(height, width):
            raise ValueError(
                f"code_grid must be at most the sides of the feature map, {height}x{width}, got {code_grid}"
            )
        kernel, stride = windows((height, width), code_grid)
        self.output = nn.Conv2d(channels, code_size, kernel, stride=stride)
        initialise(self, init, activation=None, generator=generator)

    def forward(self, maps: Tensor) -> Tensor:
        cells: Tensor = self.output(maps)
        return cells.permute(0, 2, 3, 1).flatten(1)


class Residual(nn.Module):
    """Images [B, C, H, W] plus a 3x3 and a 1x1 convolution of them (van den Oord et al. 2017, section 4.1)."""

    def __init__(self, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1)
        self.output = nn.Conv2d(channels, channels, 1)
        initialise(self, "he", activation="relu", generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = images + self.output(self.wide(images.relu()).relu())
        return found


class GridDecoder(nn.Module):
    """`code_size` numbers of each cell of a grid, [B, G * G * code_size], to images [B, C, H, W] of at least its sides.

    A transposed convolution spreads the grid over the image halved, and rounded up, again and again while it is no
    smaller than the grid; residual blocks let neighbouring cells act together; transposed convolutions double the sides
    as those of `ImageDecoder` do. Every pixel has a bias of its own.
    """

    def __init__(
        self,
        code_grid: int,
        code_size: int,
        shape: tuple[int, int, int],
        *,
        channels: int,
        gain: float = GAIN,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        planes, height, width = shape
        if code_grid > min(height, width):
            raise ValueError(f"code_grid must be at most the sides of the image, {height}x{width}, got {code_grid}")
        self.code_grid = code_grid
        self.sizes = halved(height, width, until=lambda shorter: (shorter + 1) // 2 < code_grid)
        if len(self.sizes) == 1:
            self.sizes = self.sizes * 2  # the last layer keeps the size
        steps = len(self.sizes) - 1
        widths = [planes, *(channels * min(2**step, WIDEST) for step in range(steps))][::-1]
        self.bf16 = False  # compute the convolutions in bfloat16; all weights stay float32
        kernel, stride = windows(self.sizes[0], code_grid)
        self.spread = nn.ConvTranspose2d(code_size, widths[0], kernel, stride=stride)
        self.blocks = nn.Sequential(*(Residual(widths[0], generator=generator) for _ in range(BLOCKS)))
        self.layers, self.norms = growing(widths, self.sizes, norm="none")
        with torch.no_grad():
            reached = code_size * math.prod(kernel) / math.prod(stride)
            self.spread.weight.normal_(0.0, math.sqrt(1.0 / reached), generator=generator)
            nn.init.zeros_(self.spread.bias)  # type: ignore[arg-type]
        draw(self.layers, gain=gain, generator=generator)
        self.bias = nn.Parameter(torch.zeros(shape))

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the biases of the pixels, [C, H, W]."""
        self.bias.copy_(mean)

    def forward(self, latent: Tensor) -> Tensor:
        grid = latent.view(len(latent), self.code_grid, self.code_grid, -1).permute(
            0, 3, 1, 2
        )  # in channels-last memory
        with torch.autocast(grid.device.type, torch.bfloat16, enabled=self.bf16):
            images = grow(self.blocks(self.spread(grid)), self.layers, self.norms, self.sizes)
        found: Tensor = images.float() + self.bias
        return found
