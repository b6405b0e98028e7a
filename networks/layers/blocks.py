"""Parts that several convolutional backbones are made of."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

Norm = Literal["none", "batch", "layer", "group", "rms", "weight", "spectral"]
NORMS: tuple[str, ...] = get_args(Norm)
GROUPS = 8
"""Most groups of a group normalisation."""


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of images [B, C, H, W] over the channels of each position (Ba et al. 2016)."""

    def forward(self, features: Tensor) -> Tensor:
        normal: Tensor = super().forward(features.permute(0, 2, 3, 1))
        return normal.permute(0, 3, 1, 2)


class ChannelRMS(nn.RMSNorm):
    """Root-mean-square normalisation of images [B, C, H, W] over channels (Zhang & Sennrich 2019)."""

    def forward(self, features: Tensor) -> Tensor:
        normal: Tensor = super().forward(features.permute(0, 2, 3, 1))
        return normal.permute(0, 3, 1, 2)


def normalisation(name: str, channels: int, *, images: bool = True) -> nn.Module:
    """The layer that normalises images [B, C, H, W] after a convolution, or vectors [B, C] after a linear layer.

    `batch` (Ioffe & Szegedy 2015), `layer` and `rms` over the channels of each position, `group` over groups of
    channels (Wu & He 2018). `none`, `weight` and `spectral` are no layers of their own; the last two constrain the
    weights (see `constrain`).

    Raises:
        ValueError: an unknown name.
    """
    if name not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {name!r}")
    if name == "batch":
        return nn.BatchNorm2d(channels) if images else nn.BatchNorm1d(channels)
    if name == "layer":
        return ChannelNorm(channels) if images else nn.LayerNorm(channels)
    if name == "rms":
        return ChannelRMS(channels) if images else nn.RMSNorm(channels)
    if name == "group":
        groups = next(count for count in range(min(GROUPS, channels), 0, -1) if channels % count == 0)
        return nn.GroupNorm(groups, channels)
    return nn.Identity()


def constrain(module: nn.Module, name: str, *, linear: bool = False) -> None:
    """Constrain the weights of a module's convolutions, and with `linear` of its linear layers, once they are initial.

    `weight` learns their length and direction separately (Salimans & Kingma 2016); `spectral` divides them by their
    largest singular value (Miyato et al. 2018), which is exact at first and then follows by one power iteration per
    forward pass in training mode. Other names change nothing.
    """
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d) or (linear and isinstance(layer, nn.Linear)):
            if name == "weight":
                parametrizations.weight_norm(layer)
            elif name == "spectral":
                _divide_by_norm(layer)


@torch.no_grad()
def _divide_by_norm(layer: nn.Conv2d | nn.Linear) -> None:
    """Spectral normalisation that begins with the weights' own singular vectors, so that no random number is drawn."""
    left, _, right = torch.linalg.svd(layer.weight.flatten(1), full_matrices=False)
    with torch.random.fork_rng(devices=[]):  # torch draws first vectors, which are replaced here
        parametrizations.spectral_norm(layer)
    vectors = dict(layer.named_buffers())
    vectors["parametrizations.weight.0._u"].copy_(left[:, 0])
    vectors["parametrizations.weight.0._v"].copy_(right[0])


class SqueezeExcitation(nn.Module):
    """Rescale the channels of a block's output by a gate computed from their means (Hu et al. 2018); [B, C, H, W].

    `block` is any module; None gates the input itself.
    """

    def __init__(self, channels: int, *, reduction: int = 16, block: nn.Module | None = None) -> None:
        super().__init__()
        squeezed = max(channels // reduction, 1)
        self.block = nn.Identity() if block is None else block
        self.squeeze, self.excite = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, features: Tensor) -> Tensor:
        features = self.block(features)
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(features.mean((2, 3))))))
        return features * gate[:, :, None, None]


class Separable(nn.Sequential):
    """A depthwise 3x3 convolution, then a pointwise one (Chollet 2017); [B, C, H, W] to [B, out_channels, H, W]."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, out_channels, 1),
        )


class GlobalMean(nn.Module):
    """The mean over all positions; [B, C, H, W] to [B, C]."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def pool(height: int, width: int, *, kernel: int = 3, smallest: int = 4) -> tuple[nn.Module, int, int]:
    """Max pooling with stride 2, and the size after it; nothing for images whose shorter side is below `smallest`."""
    if min(height, width) < smallest:
        return nn.Identity(), height, width
    padding = (kernel - 1) // 2
    after = [(size + 2 * padding - kernel) // 2 + 1 for size in (height, width)]
    return nn.MaxPool2d(kernel, 2, padding), after[0], after[1]
