"""What agents see of the screen: gray, the maximum of two frames, resized by area; equal to ale-py's to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import inlined, rule, stay_apart
from gymnast.envs.atari2600.machine import GROUP, HEIGHT, WIDTH
from gymnast.envs.atari2600.palette import GRAY

GROUPS = WIDTH // GROUP
ONE_EACH = np.uint64(0x0101010101010101)
BYTE = np.uint64(0xFF)
NEGLIGIBLE = 1e-3
"""Part of a pixel that does not count."""
Tap = np.dtype([("first", np.int32), ("count", np.int32)])


def taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of `source` pixels each of `target` covers, and their weights: `Tap` [target], float32 [target, most]."""
    scale = source / target
    most = int(scale) + 3
    where, weights = np.zeros(target, Tap), np.zeros((target, most), np.float32)
    for number in range(target):
        low, high = number * scale, (number + 1) * scale
        width = min(scale, source - low)
        first, last = int(np.ceil(low)), min(int(np.floor(high)), source - 1)
        first = min(first, last)
        parts = [(pixel, 1.0) for pixel in range(first, last)]
        if first - low > NEGLIGIBLE:
            parts.insert(0, (first - 1, first - low))
        if high - last > NEGLIGIBLE:
            parts.append((last, min(min(high - last, 1.0), width)))
        where[number] = parts[0][0], len(parts)
        weights[number, : len(parts)] = [part / width for _, part in parts]
    return where, weights


@inlined
def gray_group(group: Any) -> Any:
    """The gray levels of a group of palette indices."""
    first = group & BYTE
    if group == first * ONE_EACH:  # most groups have one colour
        return np.uint64(GRAY[first]) * ONE_EACH
    return gray_mixed(group)


@rule
def gray_mixed(group: Any) -> Any:
    stay_apart()
    gray = np.uint64(0)
    for pixel in range(GROUP):
        gray |= np.uint64(GRAY[group & BYTE]) << np.uint64(8 * pixel)
        group >>= np.uint64(8)
    return gray


@rule
def brighter(one: Any, other: Any) -> Any:
    """The greater of each pair of bytes."""
    most = np.uint64(0)
    for pixel in range(GROUP):
        shift = np.uint64(8 * pixel)
        most |= max(one >> shift & BYTE, other >> shift & BYTE) << shift
    return most


@rule
def gray_of(screen: Any, base: int, picture: Any) -> None:
    """A frame in gray; `base` is its first group on the screen."""
    stay_apart()
    for group in range(HEIGHT * GROUPS):
        picture[group] = gray_group(screen[base + group])


@rule
def brighten(screen: Any, base: int, picture: Any) -> None:
    """The maximum of a gray picture and a frame."""
    stay_apart()
    for group in range(HEIGHT * GROUPS):
        gray = gray_group(screen[base + group])
        if gray != picture[group]:
            picture[group] = brighter(gray, picture[group])


@rule
def resize(picture: Any, columns: Any, across: Any, rows: Any, down: Any, scratch: Any, plane: Any) -> None:
    """Average areas of a gray picture, uint64 [4200], into uint8 [height, width].

    `scratch` is float32 [211, width]. Sums go from left to right, then from top to bottom, as the rounding needs.
    """
    stay_apart()
    height, width = plane.shape
    same = 0  # the last row that was computed
    for row in range(HEIGHT):
        if row == 0 or differs(picture, row, same):
            same = row
            shrink_row(picture, row, columns, across, scratch[row])
        else:
            for x in range(width):
                scratch[row, x] = scratch[same, x]
    line = scratch[HEIGHT]
    for y in range(height):
        first = rows[y].first
        for x in range(width):
            line[x] = down[y, 0] * scratch[first, x]
        for tap in range(1, rows[y].count):
            weight, at = down[y, tap], first + tap
            for x in range(width):
                line[x] = line[x] + weight * scratch[at, x]
        for x in range(width):
            plane[y, x] = np.uint8(min(max(np.rint(line[x]), np.float32(0.0)), np.float32(255.0)))


@inlined
def differs(picture: Any, row: int, other: int) -> bool:
    for group in range(GROUPS):  # noqa: SIM110 (compiled code has no `any`)
        if picture[row * GROUPS + group] != picture[other * GROUPS + group]:
            return True
    return False


@rule
def shrink_row(picture: Any, row: int, columns: Any, across: Any, sums: Any) -> None:
    """The weighted sums of a row."""
    stay_apart()
    for x in range(len(sums)):
        first = columns[x].first
        total = across[x, 0] * pixel_of(picture, row, first)
        for tap in range(1, columns[x].count):
            total = total + across[x, tap] * pixel_of(picture, row, first + tap)
        sums[x] = total


@inlined
def pixel_of(picture: Any, row: int, x: int) -> Any:
    return np.float32(picture[row * GROUPS + (x >> 3)] >> np.uint64(8 * (x & 7)) & BYTE)
