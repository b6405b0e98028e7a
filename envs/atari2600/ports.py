"""What is plugged into the console: joysticks or paddles, and the switches on its front."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import rule, stay_apart

NAMES = ("joysticks", "joysticks swapped", "paddles left", "paddles")
"""What a game uses: in both ports joysticks, of which the player has the left or the right; paddles in the left port,
or in both with the two of a port swapped."""
JOYSTICKS, SWAPPED, PADDLES_LEFT, PADDLES = range(4)
NO_SWITCH, RESET, SELECT = range(3)

NOOP, FIRE, UP, RIGHT, LEFT, DOWN = range(6)
ACTIONS = (
    *("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPLEFT", "DOWNRIGHT", "DOWNLEFT"),
    *("UPFIRE", "RIGHTFIRE", "LEFTFIRE", "DOWNFIRE", "UPRIGHTFIRE", "UPLEFTFIRE", "DOWNRIGHTFIRE", "DOWNLEFTFIRE"),
)
_SIDES = ("UP", "DOWN", "LEFT", "RIGHT")
STICK = np.array([sum(1 << bit for bit, side in enumerate(_SIDES) if side in name) for name in ACTIONS], np.uint8)
"""Contacts that an action closes: up, down, left, right as bits 0 to 3."""
BUTTON = np.array(["FIRE" in name for name in ACTIONS], np.uint8)
TO_LEFT, TO_RIGHT = 4, 8

CENTRE, LOWEST, HIGHEST, SPEED = (27450 + 790196) // 2, 27450, 790196, 23000
"""Of a paddle, in ohms; the last per frame."""
IDLE, PRO = 0x3F, 0x40
"""SWCHB with no switch pressed, and the bit of the left player's difficulty, below the right one's."""
NO_PADDLE = -1


@rule
def plug_in(m: Any, ports: int, paddle: int) -> None:
    """Controllers that nobody touches; `paddle` is the paddles' resistance."""
    m.SWCHA, m.INPT4, m.INPT5, m.paddle = 0xFF, 0x80, 0x80, paddle
    for port in range(4):
        m.resistance[port] = NO_PADDLE
    if ports >= PADDLES_LEFT:
        m.resistance[0] = m.resistance[1] = paddle
    if ports == PADDLES:
        m.resistance[2] = m.resistance[3] = 0


@rule
def press(m: Any, ports: int, action: int, switch: int) -> None:
    """Hold an action of the player, and a switch of the console, for a frame."""
    stay_apart()
    m.SWCHB = IDLE | (m.difficulty & 3) << 6
    if switch != NO_SWITCH:
        m.SWCHB &= ~switch
    stick, button = np.int64(STICK[action]), np.int64(BUTTON[action])
    if ports == JOYSTICKS:
        m.SWCHA, m.INPT4 = 0xFF & ~(stick << 4), 0x80 * (1 - button)
    elif ports == SWAPPED:
        m.SWCHA, m.INPT5 = 0xFF & ~stick, 0x80 * (1 - button)
    else:
        if stick & TO_RIGHT:
            m.paddle -= SPEED
        elif stick & TO_LEFT:
            m.paddle += SPEED
        m.paddle = min(max(m.paddle, LOWEST), HIGHEST)
        if ports == PADDLES:
            m.resistance[1], m.resistance[0] = m.paddle, CENTRE
            m.SWCHA = 0xFF & ~(button << 6)
        else:
            m.resistance[0], m.resistance[1] = m.paddle, CENTRE
            m.SWCHA = 0xFF & ~(button << 7)
