"""What is restored, as pictures."""

from __future__ import annotations

import colorsys

import torch
from torch import Tensor

from gymnast.networks.autoencoders.target import Target

RANGE = 3.0
"""Deviations from the mean at which a number of a vector is black or white."""


def tiles(target: Target, values: Tensor) -> Tensor:
    """Values [B, *target.shape] as pictures [B, H, W, 3] between 0 and 1, on the CPU.

    Of stacked frames the last one is shown. Channels that are not colours have a colour each. A vector is a grey row.
    """
    if target.images is None:
        grey = values if target.unit else values / (2 * RANGE) + 0.5
        return grey.cpu().view(len(values), 1, -1, 1).expand(-1, -1, -1, 3)
    layout, planes = target.images, target.planes(values).cpu()
    frames = layout.shape[0] if len(layout.shape) == 4 else 1
    planes = planes[:, -(planes.shape[1] // frames) :]
    if target.space.dtype == "uint8" and not layout.is_last and planes.shape[1] != 3:  # frames, one after the other
        planes = planes[:, -1:]
    if planes.shape[1] in (1, 3):
        return planes.movedim(1, -1).expand(-1, -1, -1, 3)
    return torch.einsum("bchw,cr->bhwr", planes, _colours(planes.shape[1])).clamp(0.0, 1.0)


def _colours(count: int) -> Tensor:
    return torch.tensor([colorsys.hsv_to_rgb(index / count, 0.8, 1.0) for index in range(count)])
