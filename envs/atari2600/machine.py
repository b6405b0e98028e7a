"""The state of one machine as a record, registers by their hardware names: N machines are an array of N records."""

from __future__ import annotations

import numpy as np

WIDTH, HEIGHT = 160, 210
PIXELS = WIDTH * HEIGHT
GROUP = 8
"""Pixels that are drawn at once, as the bytes of a word."""
OBJECTS = 6
P0, P1, M0, M1, BL, PF = range(OBJECTS)
"""The TIA's objects, in the order of the fields below."""
STICKY, SYSTEM, STARTS = range(3)
"""The random generators: repeated actions, the console's power-on state, no-op starts."""
VARIABLES = 9
"""Of a game's rules; see `rules.py`."""

PROCESSOR = (*"AXYNZVCDI", "SP", "PC", "jammed", "bus", "cycle")
"""The 6507. N and Z are values: bit 7 of N is the flag, and Z is set if the value is 0. `cycle` counts since the
frame began; `bus` is the last byte on the data bus."""
CARTRIDGE = ("cartridge", "hotspots")
"""The type, and the first offset in 4K that switches banks, 4096 without one."""
RIOT = ("SWCHA", "SWCHB", "SWACNT", "timer", "timer_shift", "timer_set", "timer_latched", "timer_read")
"""Ports and the timer: its value and interval (as a shift), the cycle it was set at, its first read after the end."""
TIA_WRITES = (
    *("VSYNC", "VBLANK", "NUSIZ0", "NUSIZ1", "COLUP0", "COLUP1", "COLUPF", "COLUBK", "CTRLPF", "REFP0", "REFP1"),
    *("PF0", "PF1", "PF2", "GRP0", "GRP1", "ENAM0", "ENAM1", "ENABL", "HMP0", "HMP1", "HMM0", "HMM1", "HMBL"),
    *("VDELP0", "VDELP1", "VDELBL", "RESMP0", "RESMP1"),
)
"""Registers that keep what was written to them."""
TIA_INSIDE = (
    *("old_GRP0", "old_GRP1", "old_ENABL"),  # what the vertical delays show
    *("x_P0", "x_P1", "x_M0", "x_M1", "x_BL"),
    *("suppressed_P0", "suppressed_P1"),  # the first copy is not shown until the line ends
    *("stale", "shown"),  # bits of objects whose masks are to be made again, and of those that are not empty
    "searched",  # a whole line of these masks was searched for collisions since the latches were cleared
    *("reflected", "comb", "collisions"),  # the playfield's right half, HMOVE's black bar, 15 latches as bits
    *("INPT4", "INPT5", "dump_cycle"),
    *("hmove_clock", "vsync_finish"),
)
BEAM = ("frame_clock", "drawn", "row", "row_clock", "display_end", "touched", "buffer", "stop", "draw")
"""Where the picture is: the clocks at which the frame began, up to which it is drawn, at which the row began, at which
the last row ends, and up to which the last access asked for it; `draw` 0 computes collisions only."""
FRAME = ("partial", "greyed", "short")
"""Whether the last frame ran out of instructions, was greyed for it, or ended before its last row."""
PLAY = ("mode", "difficulty", "paddle", "action", "frames", "episode_frames", "terminal", "lives", "reward")
FIXED = ("ystart", "hmove_blanks", "line_limit")
_numbers = (*PROCESSOR, *CARTRIDGE, *RIOT, *TIA_WRITES, *TIA_INSIDE, *BEAM, *FRAME, *PLAY, *FIXED)

MACHINE = np.dtype(
    [
        *((name, np.int32) for name in _numbers),
        ("resistance", np.int32, (4,)),  # of the paddles at INPT0-3, -1 for none
        ("window", np.uint16, (16,)),  # where in the image each KiB of the processor's 16 begins
        ("sticky", np.float32),  # probability that a frame repeats the last action
        ("variables", np.int32, (VARIABLES,)),
        ("stack", np.int32, (16,)),  # of the rules' evaluation
        ("mask", np.uint64, (OBJECTS, 3)),  # where in a line each object is, pixel x in bit x % 64 of word x // 64
        ("generators", np.uint32, (3, 625)),  # MT19937, with the position in the last word
        ("RAM", np.uint8, (128,)),
        (
            "screen",
            np.uint64,
            (2 * PIXELS // GROUP,),
        ),  # palette indices of two frames, in groups of pixels
    ],
    align=True,
)


def machines(count: int) -> np.ndarray:
    """Zeroed records, [count]."""
    return np.zeros(count, MACHINE)


def screens(records: np.ndarray) -> np.ndarray:
    """The pictures of machines [N] in the same memory, uint8 [N, 2, 210, 160]; `buffer` is that of the last frame."""
    return records["screen"].view(np.uint8).reshape(len(records), 2, HEIGHT, WIDTH)
