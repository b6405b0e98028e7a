"""The few shapes that pictures of device-native environments are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[float, float]
BACKGROUND: Colour = (24, 24, 24)


class Canvas:
    """Pixels, uint8 [height, width, 3]; points are (x, y) from the upper left corner."""

    def __init__(self, height: int, width: int, background: Colour = BACKGROUND) -> None:
        self.pixels: NDArray[np.uint8] = np.full((height, width, 3), background, np.uint8)
        self._y, self._x = np.mgrid[:height, :width]

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        inside = (self._x >= left) & (self._x <= right) & (self._y >= top) & (self._y <= bottom)
        self.pixels[inside] = colour

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self.pixels[(self._x - centre[0]) ** 2 + (self._y - centre[1]) ** 2 <= radius**2] = colour

    def line(self, start: Point, end: Point, colour: Colour, *, width: float = 2) -> None:
        """A straight line with round ends."""
        along = np.array(end, np.float64) - start
        length = max(float(along @ along), 1e-12)
        share = ((self._x - start[0]) * along[0] + (self._y - start[1]) * along[1]) / length
        share = share.clip(0.0, 1.0)
        distance = (self._x - start[0] - share * along[0]) ** 2 + (self._y - start[1] - share * along[1]) ** 2
        self.pixels[distance <= (width / 2) ** 2 + 0.25] = colour


def cells(colours: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A board of cells, [rows, columns, 3], each drawn as a square of `size` pixels."""
    return colours.repeat(size, 0).repeat(size, 1)
