"""How observations and what is attributed to their numbers become pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from gymnast.networks.layers.images import Layout

Picture = NDArray[np.float64]
"""[H, W, 3], from 0 to 1."""
SMALLEST = 3
"""Pixels of the shorter side of what is shown as a picture."""


@dataclass(frozen=True)
class View:
    """Observations of a Box as pictures, or as bars if they are vectors."""

    space: spaces.Box

    @cached_property
    def layout(self) -> Layout | None:
        """The order of a picture's axes; None for vectors."""
        layout = Layout.of(self.space)
        return layout if layout is not None and min(layout.planes[1:]) >= SMALLEST else None

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture."""
        assert self.layout is not None
        return self.layout.planes[1:]

    @cached_property
    def axes(self) -> tuple[int, int] | None:
        """The axes of height and width in a batch [B, ...]; None for vectors."""
        if self.layout is None:
            return None
        last = len(self.layout.shape)
        return (last - 1, last) if not self.layout.is_last else (last - 2, last - 1)

    @cached_property
    def frames(self) -> int:
        """Frames of a stack; 1 for other pictures."""
        assert self.layout is not None
        channels = self.layout.planes[0]
        if len(self.layout.shape) == 4:
            return self.layout.shape[0]
        stacked = not self.layout.is_last or self.space.dtype == np.uint8
        return channels if len(self.layout.shape) == 3 and channels != 3 and stacked else 1

    def planes(self, x: Tensor) -> NDArray[np.float64]:
        """An observation [...], or numbers of its shape, as float64 [frames, channels, H, W]."""
        assert self.layout is not None
        planes = self.layout.to_planes(x.detach().cpu().double().unsqueeze(0))[0]
        return planes.reshape(self.frames, -1, *self.size).numpy()

    def image(self, x: Tensor, frame: int = -1) -> Picture:
        """An observation [...] as a picture; of a stack one frame, by default the newest."""
        low, high = float(np.min(self.space.low)), float(np.max(self.space.high))
        planes = self.planes(x)[frame]
        if not np.isfinite([low, high]).all():
            low, high = float(planes.min()), float(planes.max())
        shown = np.clip((planes - low) / max(high - low, 1e-12), 0.0, 1.0)
        if len(shown) == 3 and self.space.dtype == np.uint8:
            return np.moveaxis(shown, 0, -1)
        if len(shown) == 1:
            return np.repeat(shown[0][..., None], 3, -1)
        return _coloured(shown)

    def strip(self, x: Tensor) -> Picture:
        """All frames of a stack beside each other, the oldest first, with a line between them."""
        parts: list[Picture] = []
        for frame in range(self.frames):
            if parts:
                parts.append(np.ones((self.size[0], max(1, self.size[1] // 40), 3)))
            parts.append(self.image(x, frame))
        return np.concatenate(parts, 1)

    def heat(self, attribution: Tensor) -> NDArray[np.float64]:
        """Numbers [...] of an observation's shape, summed over frames and channels: [H, W]."""
        return self.planes(attribution).sum((0, 1))  # type: ignore[no-any-return]

    def spread(self, grid: Tensor) -> Tensor:
        """Places [K, H, W] of a picture as places of an observation, [K, ...]."""
        assert self.layout is not None
        if len(self.layout.shape) == 2:
            return grid
        one = grid.unsqueeze(-1) if self.layout.is_last else grid.unsqueeze(1)
        if len(self.layout.shape) == 4:
            one = one.unsqueeze(1)
        return one.expand(len(grid), *self.layout.shape)


def _coloured(planes: NDArray[np.float64]) -> Picture:
    """Channels [C, H, W] as colours of their own on black."""
    from matplotlib import colormaps

    count = 10 if len(planes) <= 10 else 20
    chosen = colormaps[f"tab{count}"](np.arange(len(planes)) % count)[:, :3]
    total = np.maximum(planes.sum(0), 1.0)[..., None]
    return np.einsum("chw,cr->hwr", planes, chosen) / total  # type: ignore[no-any-return]


def overlaid(picture: Picture, heat: NDArray[np.float64], scale: float, *, signed: bool) -> Picture:
    """A picture in grey under a heat [H, W] whose size `scale` has the full colour.

    Signed heat is red where it raises the score and blue where it lowers it; the other kind goes from black to yellow.
    """
    grey = 0.5 * np.repeat(picture.mean(-1, keepdims=True), 3, -1)
    strength = np.clip(np.abs(heat) / max(scale, 1e-300), 0.0, 1.0)[..., None]
    if signed:
        colour = np.where(heat[..., None] > 0, (1.0, 0.25, 0.2), (0.25, 0.5, 1.0))
    else:
        colour = np.broadcast_to((1.0, 0.8, 0.1), (*heat.shape, 3))
    return grey * (1.0 - strength) + colour * strength


def largest(heat: NDArray[np.float64]) -> float:
    """The size that is shown in full colour: nearly the largest one, so that single pixels do not hide the others."""
    size = np.abs(heat)
    return float(np.quantile(size, 0.995)) or float(size.max())


def enlarged(picture: Picture, side: int) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], each pixel repeated so that the shorter side has at least `side` pixels."""
    factor = max(1, -(-side // min(picture.shape[:2])))
    shown = np.repeat(np.repeat(picture, factor, 0), factor, 1)
    return np.rint(255.0 * np.clip(shown, 0.0, 1.0)).astype(np.uint8)


def beside(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures uint8 [H, W, 3] beside each other, on black where one is lower than another."""
    height = max(len(picture) for picture in pictures)
    return np.concatenate([np.pad(one, ((0, height - len(one)), (0, 0), (0, 0))) for one in pictures], 1)


def grid(rows: int, columns: int, *, aspect: float = 1.0, side: float = 1.9) -> tuple[Any, Any]:
    """A figure of panels without ticks, and its axes [rows, columns].

    `aspect` is height over width of a panel, `side` its width in inches, or its height if that is larger.
    """
    from matplotlib.figure import Figure

    side /= max(1.0, aspect)
    figure: Any = Figure(
        figsize=(max(2.5, columns * side), max(1.0, rows * side * aspect + 0.35)), dpi=120, layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
        for edge in panel.spines.values():
            edge.set_color("0.7")
    return figure, axes


def show(panel: Any, picture: Picture) -> None:
    """Show a picture, pixel by pixel."""
    panel.imshow(np.clip(picture, 0.0, 1.0), interpolation="nearest")


def bars(panel: Any, values: Tensor, *, colour: str = "C0") -> None:
    """Numbers of a vector as bars."""
    numbers = values.detach().cpu().flatten().numpy()
    panel.bar(np.arange(len(numbers)), numbers, color=colour)
    panel.axhline(0, color="black", linewidth=0.6)
    panel.tick_params(labelsize=7)
