"""The console with a game in it: power-on, resets, the selection of a mode, actions, rewards."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import call_at, rule, stay_apart
from gymnast.envs.atari2600.frame import reset_system
from gymnast.envs.atari2600.games import PRELUDES
from gymnast.envs.atari2600.machine import STICKY, SYSTEM
from gymnast.envs.atari2600.mersenne import draw, seed_generator
from gymnast.envs.atari2600.ports import (
    CENTRE,
    DOWN,
    IDLE,
    LEFT,
    NO_SWITCH,
    NOOP,
    PRO,
    RESET,
    RIGHT,
    SELECT,
    plug_in,
    press,
)
from gymnast.envs.atari2600.rules import MODE, C, judge

SYSTEM_SEED = 4753849
BOOT_FRAMES, RESET_FRAMES, WAIT_FRAMES = 60, 4, 20
LINE_LIMIT = 290
"""The last line in which a frame may go on."""
WAIT, RESETS, SELECTS, MENU = (PRELUDES.index(name) for name in ("wait", "reset", "select", "menu"))
PATIENCE = 1000
"""Rounds of a selection that never ends, because the game is not what it should be."""
UPFIRE = 10


@rule
def power_on(m: Any, game: Any, rom: Any, seed: int) -> None:
    """A console that was never used, up to the first episode; `seed` is that of repeated actions, 0 to 2**31 - 1."""
    stay_apart()
    m.cartridge, m.ystart, m.hmove_blanks, m.line_limit = game.cartridge, game.ystart, game.hmove_blanks, LINE_LIMIT
    m.mode, m.difficulty, m.frames, m.partial, m.greyed, m.draw = game.default_mode, 0, 0, 0, 0, 1
    m.buffer = m.touched = m.timer_read = 0
    seed_generator(m.generators[STICKY], seed)
    seed_generator(m.generators[SYSTEM], SYSTEM_SEED)
    for byte in range(128):
        m.RAM[byte] = draw(m.generators[SYSTEM]) & np.uint32(0xFF)
    draw(m.generators[SYSTEM])
    plug_in(m, game.ports, 0)
    m.SWCHB = IDLE | (3 * PRO if game.pro else 0)
    reset_system(m, rom)
    for _ in range(BOOT_FRAMES):
        call_at(game.run_frame, m, rom)
    reset_system(m, rom)
    begin_episode(m, game, rom)


@rule
def begin_episode(m: Any, game: Any, rom: Any) -> None:
    """A new episode in the mode `m.mode`."""
    stay_apart()
    m.episode_frames, m.action = 0, NOOP
    plug_in(m, game.ports, CENTRE)
    reset_system(m, rom)
    hold(m, game, rom, NOOP, NO_SWITCH, BOOT_FRAMES)
    hold(m, game, rom, NOOP, RESET, RESET_FRAMES)
    for number in range(len(m.variables)):
        m.variables[number] = game.start[number]
    m.variables[MODE] = m.mode
    m.terminal = m.reward = 0
    select_mode(m, game, rom)
    hold(m, game, rom, NOOP, RESET, RESET_FRAMES)
    hold(m, game, rom, np.int64(game.start_action), NO_SWITCH, np.int64(game.start_frames))
    m.action = NOOP  # Double Dunk's menu has left another one


@rule
def emulate(m: Any, game: Any, rom: Any, action: int, switch: int) -> None:
    """A frame, and what the rules make of it."""
    stay_apart()
    press(m, game.ports, action, switch)
    call_at(game.run_frame, m, rom)
    judge(m, game.rules)


@rule
def hold(m: Any, game: Any, rom: Any, action: int, switch: int, frames: int) -> None:
    stay_apart()
    for _ in range(frames):
        emulate(m, game, rom, action, switch)


@rule
def select_mode(m: Any, game: Any, rom: Any) -> None:
    """Press SELECT until the game shows the mode, as a person would, and start it."""
    stay_apart()
    if game.prelude == MENU:
        use_menu(m, game, rom)
        return
    if game.select_frames == 0:
        return
    if game.prelude == WAIT:
        for _ in range(WAIT_FRAMES):
            act(m, game, rom, NOOP)
    elif game.prelude == RESETS:
        hold(m, game, rom, NOOP, RESET, RESET_FRAMES)
    elif game.prelude == SELECTS:
        press_select(m, game, rom, 2)
    for _ in range(PATIENCE):
        judge(m, game.mode_reached)
        if m.variables[C]:
            break
        press_select(m, game, rom, np.int64(game.select_frames))
    hold(m, game, rom, NOOP, RESET, RESET_FRAMES)


@rule
def press_select(m: Any, game: Any, rom: Any, frames: int) -> None:
    """Hold SELECT, which no rule looks at, and release it; it counts as one frame."""
    stay_apart()
    for _ in range(frames):
        press(m, game.ports, NOOP, SELECT)
        call_at(game.run_frame, m, rom)
    emulate(m, game, rom, NOOP, NO_SWITCH)
    m.frames += 1
    m.episode_frames += 1


@rule
def use_menu(m: Any, game: Any, rom: Any) -> None:
    """Double Dunk's menu: four lines, each of which a bit of the mode switches on or off."""
    stay_apart()
    press_select(m, game, rom, 1)
    next_line(m, game, rom)
    for number in range(4):
        next_line(m, game, rom)
        bit = 4 if number == 2 else (8 if number == 0 else (16 if number == 1 else 32))
        wanted = m.mode >> number & 1
        for _ in range(PATIENCE):
            if (m.RAM[0] & bit != 0) == (wanted != 0):
                break
            act(m, game, rom, RIGHT if wanted else LEFT)
            act(m, game, rom, NOOP)
    hold(m, game, rom, NOOP, RESET, RESET_FRAMES)
    act(m, game, rom, UPFIRE)
    act(m, game, rom, NOOP)


@rule
def next_line(m: Any, game: Any, rom: Any) -> None:
    """DOWN until the menu shows another line."""
    stay_apart()
    line = m.RAM[48]
    for _ in range(PATIENCE):
        act(m, game, rom, DOWN)
        act(m, game, rom, NOOP)
        if m.RAM[48] != line:
            break


@rule
def act(m: Any, game: Any, rom: Any, action: int) -> int:
    """One frame of an action, which may be the last one again; the reward. Nothing happens after the game's end."""
    stay_apart()
    repeats = np.float64(draw(m.generators[STICKY])) / 2.0**32 < np.float64(m.sticky)
    draw(m.generators[STICKY])  # the second player's
    if not repeats:
        m.action = action
    if m.terminal:
        return np.int64(0)  # type: ignore[no-any-return]
    emulate(m, game, rom, np.int64(m.action) if game.legal >> m.action & 1 else NOOP, NO_SWITCH)
    m.frames += 1
    m.episode_frames += 1
    return np.int64(m.reward)  # type: ignore[no-any-return]
