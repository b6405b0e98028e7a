"""Image observations: common layouts, and their conversion to planes [B, C, H, W] for convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
from gymnasium import spaces

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 36
"""Pixels of the shorter side that the convolutions of Mnih et al. 2015 need."""
Axis = Literal["auto", "first", "last"]
"""Where the channels of an image are; `auto` decides by the rule of `Layout`."""


@dataclass(frozen=True)
class Layout:
    """The order of an image's axes.

    `[H, W]` has one channel. Of three axes the last one has the channels if it is smaller than both others, else the
    first one has them. Of four axes the first has the frames of a stack; the others are read by the same rule.
    """

    shape: tuple[int, ...]
    is_last: bool
    """Whether the channels are the last axis."""

    @staticmethod
    def of(space: gym.Space[Any], channels: Axis = "auto") -> Layout | None:
        """The layout of a Box of two to four axes, None for other spaces; `channels` overrides the rule."""
        if not isinstance(space, spaces.Box) or not 2 <= len(space.shape) <= 4:
            return None
        *_, last = shape = space.shape
        is_last = min(shape[-3:-1]) > last if channels == "auto" else channels == "last"
        return Layout(shape, len(shape) > 2 and is_last)

    @property
    def planes(self) -> tuple[int, int, int]:
        """Channels (of all frames together), height, width."""
        frames, first, second, third = (1, 1, *self.shape)[-4:]
        return (frames * third, first, second) if self.is_last else (frames * first, second, third)

    def to_planes(self, obs: Tensor) -> Tensor:
        """Images [B, ...] as [B, C, H, W], without a copy if the axes allow it."""
        if len(self.shape) == 2:
            return obs.unsqueeze(1)
        if self.is_last:
            obs = obs.movedim(-1, -3)
        return obs if len(self.shape) == 3 else obs.flatten(1, 2)


def is_image(space: gym.Space[Any]) -> bool:
    """Whether these are uint8 images, large enough for the convolutions of Mnih et al. 2015."""
    layout = Layout.of(space)
    return layout is not None and space.dtype == "uint8" and min(layout.planes[1:]) >= SMALLEST


def has_image(space: gym.Space[Any]) -> bool:
    """Whether an observation or any part of it is an image."""
    return any(is_image(part) for _, part in leaves(space))


def leaves(space: gym.Space[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], gym.Space[Any]]]:
    """The parts that are not Dict or Tuple themselves, each with its path of keys."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in named:
            yield from leaves(part, (*path, str(key)))
    else:
        yield path, space


def reading(space: gym.Space[Any]) -> list[str]:
    """A line on each part that has the axes of an image: how convolutions read it, or why they do not."""
    lines: list[str] = []
    for path, part in leaves(space):
        layout = Layout.of(part)
        if layout is None or (len(layout.shape) < 3 and not is_image(part)):
            continue
        name = f"observations {''.join(f'{key} ' for key in path)}{list(layout.shape)}"
        channels, height, width = layout.planes
        if is_image(part):
            lines.append(f"{name} are images of {height}x{width} pixels and {channels} channels, for convolutions")
        elif part.dtype != "uint8":
            lines.append(f"{name} are read as a vector, not as images: they are {part.dtype}, and images are uint8")
        else:
            lines.append(f"{name} are read as a vector, not as images: convolutions need {SMALLEST}x{SMALLEST} pixels")
    return lines
