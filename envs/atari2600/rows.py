"""Steps and resets of N machines: what a thread runs for its rows without the GIL."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import kernel, rule, stay_apart
from gymnast.envs.atari2600.console import act, begin_episode, power_on
from gymnast.envs.atari2600.machine import GROUP, MACHINE, PIXELS, STARTS
from gymnast.envs.atari2600.mersenne import below, seed_generator
from gymnast.envs.atari2600.observation import brighten, brighter, gray_of, resize
from gymnast.envs.atari2600.ports import FIRE, NOOP

GROUPS = PIXELS // GROUP
ACT, STEP, POWER_ON, RESET = range(4)
GO_ON, SKIP = -1, -2
STEPPED, BEGUN, NOTHING = range(3)
"""What happened to a row before it is observed."""
KEPT = MACHINE.fields["screen"][1] // 8  # type: ignore[index]
"""Words of a machine before its screen."""

SETTINGS = np.dtype(
    [(name, np.int32) for name in ("frame_skip", "max_frames", "starts", "fire_reset", "seen", "mode", "difficulty")],
    align=True,
)
"""`starts`: no-op starts are fewer than this; `seen`: of an action's last frames, those that anyone may look at."""
ROW = np.dtype(
    [
        *((name, np.int32) for name in ("elapsed", "draw_all", "reward", "terminated", "truncated", "played", "held")),
        ("picture", np.uint64, (GROUPS,)),  # what the last observation shows, in gray
        ("before", np.uint64, (GROUPS,)),  # the last frame but one, if the last one was drawn over it
    ],
    align=True,
)
"""What an environment has beside its machine: frames of the episode, whether frames that nobody sees are drawn because
later ones may show parts of them, and the results of the last step: whole frames before the episode's end."""


@kernel
def run_rows(
    machines: Any,
    words: Any,
    rows: Any,
    game: Any,
    rom: Any,
    settings: Any,
    command: int,
    values: Any,
    first: int,
    stop: int,
    kept: Any,
) -> None:
    """A command in the machines `first` to `stop` - 1, each with its own value, int64 [N].

    ACT: a frame of the action; STEP: an action; POWER_ON: a new console with the seed; RESET: an episode as agents
    begin it, on a new console unless it is GO_ON, and nothing where it is SKIP. `words` is the machines' memory, `kept`
    a thread's own. They are one function, because each that runs the console takes long to compile.
    """
    for number in range(first, stop):
        m, row, value = machines[number], rows[number], values[number]
        if command == STEP:
            step(m, words[number], row, game[0], rom, settings[0], value, kept)
        elif command == ACT:
            row.reward = act(m, game[0], rom, value)
        elif value != SKIP:
            if value >= 0:
                seed_generator(m.generators[STARTS], value)
                power_on(m, game[0], rom, value)
            if command == RESET:
                begin(m, row, game[0], rom, settings[0])


@rule
def step(m: Any, words: Any, row: Any, game: Any, rom: Any, settings: Any, action: int, kept: Any) -> None:
    """An action, of which only the last frames are drawn if those before cannot be seen in them."""
    stay_apart()
    elapsed = row.elapsed
    hides = row.draw_all == 0 and 0 < settings.seen < settings.frame_skip
    if hides:
        for word in range(KEPT):
            kept[word] = words[word]
    is_short = play(m, row, game, rom, settings, action)
    if hides and is_short:  # it shows parts of a frame that was not drawn: once more, with all frames drawn
        for word in range(KEPT):
            words[word] = kept[word]
        row.elapsed, row.draw_all = elapsed, 1
        play(m, row, game, rom, settings, action)


@rule
def play(m: Any, row: Any, game: Any, rom: Any, settings: Any, action: int) -> bool:
    """An action for `frame_skip` frames; whether one of those that are seen ended before its last row."""
    stay_apart()
    frames, reward, is_short = settings.frame_skip, np.int64(0), False
    row.played = row.held = row.truncated = 0
    while row.played < frames:
        is_seen = row.played >= frames - settings.seen
        m.draw = 1 if is_seen or row.draw_all else 0
        reward += act(m, game, rom, action)
        row.elapsed += 1
        is_short |= is_seen and m.short != 0
        if m.terminal or row.elapsed >= settings.max_frames:
            row.truncated = 1 if m.terminal == 0 else 0
            break
        row.played += 1
        if m.partial and settings.seen == 2 and row.played == frames - 1:
            row.held = 1
            gray_of(m.screen, m.buffer * GROUPS, m.buffer * GROUPS, row.before)
    m.draw = 1
    row.reward, row.terminated = reward, 1 if m.terminal else 0
    return is_short


@kernel
def observe_rows(
    machines: Any,
    rows: Any,
    settings: Any,
    changes: Any,
    columns: Any,
    across: Any,
    edges: Any,
    lines: Any,
    down: Any,
    scratch: Any,
    before: Any,
    planes: Any,
    first: int,
    stop: int,
) -> None:
    """The stacks of rows, uint8 [N, stack, height, width], from those `before`; `changes` are what happened to them."""
    newest = planes.shape[1] - 1
    for number in range(first, stop):
        m, row, change = machines[number], rows[number], changes[number]
        if change == NOTHING:
            copy_planes(before[number], planes[number], 0, newest + 1)
            continue
        if change == BEGUN:
            gray_of(m.screen, m.buffer * GROUPS, m.buffer * GROUPS, row.picture)
            planes[number] = 0
        else:
            see(m, row, settings[0].frame_skip)
            copy_planes(before[number], planes[number], 1, newest)
        resize(row.picture, columns, across, edges, lines, down, scratch, planes[number, newest])


@rule
def copy_planes(source: Any, target: Any, skipped: int, count: int) -> None:
    """Copy planes of a stack, without the first ones of the source."""
    for plane in range(count):
        for y in range(source.shape[1]):
            for x in range(source.shape[2]):
                target[plane, y, x] = source[plane + skipped, y, x]


@rule
def see(m: Any, row: Any, frames: int) -> None:
    """The maximum of an action's last two frames; an episode that ended before them shows its last picture."""
    stay_apart()
    last, before = m.buffer * GROUPS, (1 - m.buffer) * GROUPS
    if row.played == frames:
        gray_of(m.screen, last, last if row.held or frames == 1 else before, row.picture)
    elif frames > 1 and row.played == frames - 1 and row.held == 0:
        brighten(m.screen, before, row.picture)
    if row.held:
        for group in range(GROUPS):
            row.picture[group] = brighter(row.before[group], row.picture[group])


@rule
def begin(m: Any, row: Any, game: Any, rom: Any, settings: Any) -> None:
    """An episode with FIRE, if the settings say so, and no-ops."""
    stay_apart()
    m.draw, m.mode, m.difficulty = 1, settings.mode, settings.difficulty
    begin_episode(m, game, rom)
    if settings.fire_reset:
        act(m, game, rom, FIRE)
    for _ in range(below(m.generators[STARTS], settings.starts) - settings.fire_reset):
        act(m, game, rom, NOOP)
        if m.terminal:
            begin_episode(m, game, rom)
    row.elapsed = row.draw_all = row.reward = row.terminated = row.truncated = row.played = row.held = 0
