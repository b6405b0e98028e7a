"""The pictures of a film: observations as they look, or curves of their numbers; and captions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from gymnast.agents.supervised.autoencoders.tiles import tiles
from gymnast.envs.step import Obs
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.layers.images import Layout, leaves
from gymnast.networks.layers.inputs import Vector

Frame = NDArray[np.uint8]
"""uint8 [H, W, 3]"""
HEIGHT, WIDTH = 360, 480
"""Pixels of a figure of curves; pictures are enlarged to about this height."""
SMALLEST = 4
"""Pixels of the shorter side of an image; smaller arrays are shown as numbers."""
PAGE = 100
"""Steps of an episode whose curves are shown together."""
CURVES = 6
"""Numbers of an observation that have a curve, at most."""
STRIP, GAP = 24, 6
"""Pixels of a caption's height, and between two pictures."""


class Panels(Protocol):
    """How observations are shown."""

    is_picture: bool
    """Whether they look like something: then the real ones are shown too."""

    def real(self, true: Obs) -> list[Frame]:
        """Real observations [T, ...], one frame each."""
        ...

    def imagined(self, true: Obs, imagined: Obs, ahead: Sequence[int]) -> list[Frame]:
        """Imagined ones; `ahead` says how many steps ago the model last saw a real one."""
        ...


def panels_of(space: gym.Space[Any]) -> Panels:
    """Pictures if the observations or a part of them are an image, else curves."""
    for path, part in leaves(space):
        layout = Layout.of(part)
        if layout is None or not isinstance(part, gym.spaces.Box):
            continue
        if min(layout.planes[1:]) >= SMALLEST and np.isfinite([part.low, part.high]).all():
            return Pictures(part, path)
    return Curves(space)


class Pictures:
    """Images [T, ...], enlarged by a whole factor."""

    is_picture = True

    def __init__(self, space: gym.Space[Any], path: tuple[str, ...]) -> None:
        self._space, self._path = space, path

    def real(self, true: Obs) -> list[Frame]:
        for name in self._path:
            assert isinstance(true, dict)
            true = true[name]
        shown = true
        target = Target(self._space, lambda: shown)
        images = (tiles(target, target(shown)).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
        return [enlarged(image) for image in images]

    def imagined(self, true: Obs, imagined: Obs, ahead: Sequence[int]) -> list[Frame]:
        return self.real(imagined)


class Curves:
    """The numbers of observations as curves over the episode, `PAGE` steps at a time, drawn up to the frame's step."""

    is_picture = False

    def __init__(self, space: gym.Space[Any]) -> None:
        self._vector = Vector(space)

    def real(self, true: Obs) -> list[Frame]:
        return []

    def imagined(self, true: Obs, imagined: Obs, ahead: Sequence[int]) -> list[Frame]:
        numbers = self._vector(true).numpy(), self._vector(imagined).numpy()
        frames = []
        for first in range(0, len(ahead), PAGE):
            page = range(first, min(first + PAGE, len(ahead)))
            whole, boxes, columns = _page(*numbers, ahead, page)
            for column in columns:
                frame = whole.copy()
                for top, bottom, right in boxes:
                    frame[top:bottom, column + 1 : right] = 255
                    frame[top:bottom, column] = (200, 40, 40)
                frames.append(frame)
        return frames


def _page(
    true: NDArray[Any], imagined: NDArray[Any], ahead: Sequence[int], page: range
) -> tuple[Frame, list[tuple[int, int, int]], list[int]]:
    """The curves of some steps; where each lies (rows from and to, last column); the columns of pixels of the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second to import
    from matplotlib.figure import Figure

    made: Any = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    canvas: Any = FigureCanvasAgg(made)
    every = made.subplots(min(true.shape[1], CURVES), 1, sharex=True, squeeze=False)[:, 0]
    made.subplots_adjust(left=0.13, right=0.98, top=0.93, bottom=0.11, hspace=0.25)
    for index, axes in enumerate(every):
        axes.plot(true[:, index], color="0.35", linewidth=1.2, label="real")
        for begin, end in _spans(ahead):
            axes.plot(range(begin, end), imagined[begin:end, index], color="C0", linewidth=1.2)
            axes.axvline(begin, color="0.7", linewidth=0.6, linestyle=":")
        axes.plot([], [], color="C0", label="imagined")
        low, high = true[:, index].min(), true[:, index].max()
        room = max((high - low) * 0.3, 1e-3)
        axes.set_ylim(low - room, high + room)
        axes.set_xlim(page[0] - 0.5, page[0] + PAGE)
        axes.tick_params(labelsize=6)
        axes.set_ylabel(f"[{index}]", fontsize=7)
    every[-1].set_xlabel("step", fontsize=7)
    every[0].legend(fontsize=6, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
    canvas.draw()
    whole = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    boxes = [axes.get_window_extent() for axes in every]
    places = [(HEIGHT - round(box.y1) + 1, HEIGHT - round(box.y0) - 1, round(box.x1)) for box in boxes]
    return whole, places, [round(float(every[0].transData.transform((step, 0.0))[0])) for step in page]


def _spans(ahead: Sequence[int]) -> list[tuple[int, int]]:
    """From each step that the model last saw to the end of what it predicts from there."""
    begins = [index - 1 for index, steps in enumerate(ahead) if steps == 1]
    return list(zip(begins, [begin + 1 for begin in begins[1:]] + [len(ahead)], strict=True))


def enlarged(image: Frame) -> Frame:
    """An image, enlarged by a whole factor to about `HEIGHT`; larger ones stay as they are."""
    factor = max(HEIGHT // max(image.shape[:2]), 1)
    return np.ascontiguousarray(image.repeat(factor, 0).repeat(factor, 1))


def beside(left: Frame | None, right: Frame, captions: tuple[str, str]) -> Frame:
    """Two pictures with captions; only the right one if there is no left one."""
    columns = [(right, captions[1])] if left is None else [(left, captions[0]), (right, captions[1])]
    height = max(picture.shape[0] for picture, _ in columns)
    parts: list[Frame] = []
    for picture, caption in columns:
        low = np.full((height - picture.shape[0], picture.shape[1], 3), 255, np.uint8)
        parts += [np.concatenate([_caption(caption, picture.shape[1]), picture, low])]
        parts += [np.full((STRIP + height, GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], 1)


@lru_cache(maxsize=4096)
def _caption(text: str, width: int) -> Frame:
    from PIL import Image, ImageDraw  # only films need it

    image = Image.new("RGB", (width, STRIP), "white")
    ImageDraw.Draw(image).text((4, 6), text, fill="black")
    return np.asarray(image)
