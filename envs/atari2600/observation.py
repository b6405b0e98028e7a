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


def edges(columns: np.ndarray) -> np.ndarray:
    """The first column that a group of pixels is part of, and the one after its last, int32 [groups, 2]."""
    starts, stops = columns["first"] // GROUP, (columns["first"] + columns["count"] - 1) // GROUP
    groups = np.arange(GROUPS)
    return np.stack([np.searchsorted(stops, groups), np.searchsorted(starts, groups, "right")], 1).astype(np.int32)


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
def gray_of(screen: Any, first: int, second: int, picture: Any) -> None:
    """The maximum of two frames in gray; `first` and `second` are their first groups on the screen."""
    stay_apart()
    for row in range(HEIGHT):
        at = row * GROUPS
        one, other = screen[first + at : first + at + GROUPS], screen[second + at : second + at + GROUPS]
        gray = picture[at : at + GROUPS]
        if row and repeats(screen, first + at) and repeats(screen, second + at):
            for group in range(GROUPS):
                gray[group] = picture[at - GROUPS : at][group]
        else:
            for group in range(GROUPS):
                gray[group] = gray_group(one[group])
                if one[group] != other[group]:
                    gray[group] = brighter(gray[group], gray_group(other[group]))


@inlined
def repeats(screen: Any, at: int) -> bool:
    """Whether a row, from group `at` on, is the one above."""
    row, above = screen[at : at + GROUPS], screen[at - GROUPS : at]
    different = np.uint64(0)
    for group in range(GROUPS):  # without an exit, so that it is a few wide instructions
        different |= row[group] ^ above[group]
    return different == np.uint64(0)  # type: ignore[no-any-return]


@rule
def brighten(screen: Any, base: int, picture: Any) -> None:
    """The maximum of a gray picture and a frame."""
    stay_apart()
    for group in range(HEIGHT * GROUPS):
        gray = gray_group(screen[base + group])
        if gray != picture[group]:
            picture[group] = brighter(gray, picture[group])


@rule
def resize(picture: Any, columns: Any, across: Any, edges: Any, rows: Any, down: Any, scratch: Any, plane: Any) -> None:
    """Average areas of a gray picture, uint64 [4200], into uint8 [height, width].

    `scratch` is float32 [211, width]. Sums go from left to right, then from top to bottom, as the rounding needs. Of a
    row only what differs from the row above is computed.
    """
    stay_apart()
    height, width = plane.shape
    shrink_row(picture[:GROUPS], columns, across, 0, width, scratch[0])
    for row in range(1, HEIGHT):
        above, here = scratch[row - 1], scratch[row]
        for x in range(width):
            here[x] = above[x]
        before, now = picture[(row - 1) * GROUPS : row * GROUPS], picture[row * GROUPS : (row + 1) * GROUPS]
        for group in range(GROUPS):
            if before[group] != now[group]:
                shrink_row(now, columns, across, edges[group, 0], edges[group, 1], here)
    line = scratch[HEIGHT]
    for y in range(height):
        first, plane_row = rows[y].first, plane[y]
        scale(line, down[y, 0], scratch[first])
        for tap in range(1, rows[y].count):
            accumulate(line, down[y, tap], scratch[first + tap])
        for x in range(width):
            plane_row[x] = np.uint8(min(max(np.rint(line[x]), np.float32(0.0)), np.float32(255.0)))


@inlined
def scale(line: Any, weight: Any, row: Any) -> None:
    for x in range(len(line)):
        line[x] = weight * row[x]


@inlined
def accumulate(line: Any, weight: Any, row: Any) -> None:
    for x in range(len(line)):
        line[x] = line[x] + weight * row[x]


@rule
def shrink_row(pixels: Any, columns: Any, across: Any, start: int, stop: int, sums: Any) -> None:
    """The weighted sums of a row for the columns `start` to `stop` - 1."""
    stay_apart()
    for x in range(start, stop):
        first = columns[x].first
        total = across[x, 0] * pixel_of(pixels, first)
        for tap in range(1, columns[x].count):
            total = total + across[x, tap] * pixel_of(pixels, first + tap)
        sums[x] = total


@inlined
def pixel_of(pixels: Any, x: int) -> Any:
    return np.float32(pixels[x >> 3] >> np.uint64(8 * (x & 7)) & BYTE)
