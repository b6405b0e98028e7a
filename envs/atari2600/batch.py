"""Many rows on a device, as kernels: each thread takes every n-th row, or part of a row's picture, of n threads.

They are compiled by `narrow` with 32-bit integers, for a CUDA GPU or a CPU: `targets.py` has what differs, the names
`share`, `times`, `plus` and `nearest`. What a row does is what `rows.py` does on a CPU; observations are made pixel by
pixel instead of row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600 import rows as r
from gymnast.envs.atari2600.console import power_on
from gymnast.envs.atari2600.machine import MACHINE, STARTS
from gymnast.envs.atari2600.mersenne import seed_generator
from gymnast.envs.atari2600.observation import GROUPS as LINE
from gymnast.envs.atari2600.observation import brighter, gray_group, pixel_of
from gymnast.envs.atari2600.rows import GROUPS, begin, step

WORDS = MACHINE.itemsize // 4
"""Of a machine, of 32 bits."""
OWN_FIRST = MACHINE.fields["generators"][1] // 4  # type: ignore[index]
OWN_STOP = OWN_FIRST + MACHINE["generators"].itemsize // 4
"""Words that are not copied with a start: the generators are the row's own."""
LANES = 64
"""Threads that copy a machine together."""
BLACK, MOST = np.float32(0.0), np.float32(255.0)


def share() -> tuple[int, int]:
    """The first of what a thread is to do, and the distance to the next; of one thread, all of it."""
    return 0, 1


def times(one: Any, other: Any) -> Any:
    """A product, rounded on its own: a GPU would fuse it with the sum."""
    return one * other


def plus(one: Any, other: Any) -> Any:
    """A sum, rounded on its own."""
    return one + other


def nearest(value: Any) -> Any:
    """The nearest integer as a float, halves to even."""
    return np.rint(value)


def step_rows(
    count: int,
    machines: Any,
    words: Any,
    rows: Any,
    game: Any,
    rom: Any,
    settings: Any,
    actions: Any,
    kept: Any,
) -> None:
    """An action, int32 [N], 0 to 17, in each row; `kept` is for machines that play it again, uint64 [N, KEPT]."""
    first, distance = share()
    for row in range(first, count, distance):
        step(machines[row], words[row], rows[row], game[0], rom, settings[0], actions[row], kept[row])


def begin_rows(count: int, machines: Any, rows: Any, game: Any, rom: Any, settings: Any, seeds: Any) -> None:
    """An episode in rows as an agent begins it: on a new console with a seed, int32 [N], on the row's own where it is
    GO_ON, and nothing where it is SKIP."""
    first, distance = share()
    for row in range(first, count, distance):
        if seeds[row] != r.SKIP:
            if seeds[row] >= 0:
                seed_generator(machines[row].generators[STARTS], seeds[row])
                power_on(machines[row], game[0], rom, seeds[row])
            begin(machines[row], rows[row], game[0], rom, settings[0])


def copy_starts(count: int, words: Any, rows: Any, starts: Any, chosen: Any) -> None:
    """Give rows one of the starts, int32 [K, WORDS], each: `chosen` is int32 [N], SKIP for none."""
    first, distance = share()
    for number in range(first, count * LANES, distance):
        row, lane = number // LANES, number % LANES
        if chosen[row] != r.SKIP:
            for word in range(lane, WORDS, LANES):
                if word < OWN_FIRST or word >= OWN_STOP:
                    words[row, word] = starts[chosen[row], word]
            if lane == 0:
                rows[row].elapsed = rows[row].draw_all = rows[row].held = rows[row].played = 0


def see_rows(count: int, machines: Any, rows: Any, settings: Any, changes: Any) -> None:
    """The gray pictures of rows, after what happened to each, int32 [N]."""
    first, distance = share()
    for number in range(first, count * GROUPS, distance):
        row, group = number // GROUPS, number % GROUPS
        if changes[row] == r.BEGUN:
            m = machines[row]
            rows[row].picture[group] = gray_group(m.screen[m.buffer * GROUPS + group])
        elif changes[row] == r.STEPPED:
            see_group(machines[row], rows[row], settings[0].frame_skip, group)


def see_group(m: Any, row: Any, frames: int, group: int) -> None:
    """As `rows.see`, of one group of pixels."""
    last, before = m.buffer * GROUPS + group, (1 - m.buffer) * GROUPS + group
    gray = row.picture[group]
    if row.played == frames:
        gray = gray_group(m.screen[last])
        if frames > 1 and row.held == 0:
            gray = brighter(gray, gray_group(m.screen[before]))
    elif frames > 1 and row.played == frames - 1 and row.held == 0:
        gray = brighter(gray_group(m.screen[before]), gray)
    row.picture[group] = brighter(row.before[group], gray) if row.held else gray


def show_rows(
    count: int,
    rows: Any,
    changes: Any,
    columns: Any,
    across: Any,
    lines: Any,
    down: Any,
    before: Any,
    planes: Any,
) -> None:
    """The stacks of rows, uint8 [N, stack, height, width], from those `before`; nothing where nothing happened."""
    first, distance = share()
    newest, height, width = planes.shape[1] - 1, planes.shape[2], planes.shape[3]
    for number in range(first, count * height * width, distance):
        row, at = number // (height * width), number % (height * width)
        y, x = at // width, at % width
        if changes[row] == r.NOTHING:
            continue
        for plane in range(newest):
            planes[row, plane, y, x] = before[row, plane + 1, y, x] if changes[row] == r.STEPPED else np.uint8(0)
        total = BLACK
        for tap in range(lines[y].count):
            part = times(down[y, tap], shrunk(rows[row].picture, lines[y].first + tap, columns[x], across[x]))
            total = part if tap == 0 else plus(total, part)
        planes[row, newest, y, x] = np.uint8(min(max(nearest(total), BLACK), MOST))


def shrunk(picture: Any, line: int, column: Any, weights: Any) -> Any:
    """The weighted sum of a line's pixels for a column, from left to right."""
    groups = picture[line * LINE : (line + 1) * LINE]
    total = times(weights[0], pixel_of(groups, column.first))
    for tap in range(1, column.count):
        total = plus(total, times(weights[tap], pixel_of(groups, column.first + tap)))
    return total
