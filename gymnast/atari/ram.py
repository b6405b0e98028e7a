"""Bytes of the Atari 2600's memory with a known meaning.

The positions are those of the Atari Annotated RAM Interface (Anand et al. 2019, arXiv:1906.08226). Only those are here
that a comparison with ale-py confirmed: a byte moves with its object on the screen, or equals the score or the lives.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gymnast.envs.atari.names import atari_name, is_atari


class Variable(NamedTuple):
    """A byte of the memory."""

    byte: int
    bcd: bool = False
    """Whether its two hexadecimal digits are decimal ones."""

    def value(self, ram: NDArray[np.uint8]) -> int:
        """Its value in a memory uint8 [128]."""
        number = int(ram[self.byte])
        return 10 * (number // 16) + number % 16 if self.bcd else number


VARIABLES: dict[str, dict[str, Variable]] = {
    "boxing": {
        "player_x": Variable(32),
        "player_y": Variable(34),
        "enemy_x": Variable(33),
        "enemy_y": Variable(35),
        "player_score": Variable(18, bcd=True),
        "enemy_score": Variable(19, bcd=True),
    },
    "breakout": {
        "player_x": Variable(72),
        "ball_x": Variable(99),
        "ball_y": Variable(101),
        "lives": Variable(57),
    },
    "freeway": {
        "player_y": Variable(14),
        "player_score": Variable(103, bcd=True),
    },
    "ms_pacman": {
        "player_x": Variable(10),
        "player_y": Variable(16),
        "sue_x": Variable(6),
        "sue_y": Variable(12),
        "inky_x": Variable(7),
        "inky_y": Variable(13),
        "pinky_x": Variable(8),
        "pinky_y": Variable(14),
        "blinky_x": Variable(9),
        "blinky_y": Variable(15),
        "spare_lives": Variable(123),
    },
    "pong": {
        "player_y": Variable(51),
        "enemy_y": Variable(50),
        "ball_x": Variable(49),
        "ball_y": Variable(54),
        "player_score": Variable(14),
        "enemy_score": Variable(13),
    },
    "seaquest": {
        "player_x": Variable(70),
        "player_y": Variable(97),
        "oxygen": Variable(102),
        "spare_lives": Variable(59),
    },
    "space_invaders": {
        "player_x": Variable(28),
        "enemies_x": Variable(26),
        "enemies_left": Variable(17),
        "lives": Variable(73),
    },
}
"""The variables of each game, by the name of its ROM. Where an object is absent, its position may be 0."""


def variables_of(env: str) -> dict[str, Variable]:
    """The variables of an Atari id's game; none for a game without a list, and for other environments."""
    return VARIABLES.get(atari_name(env).rom, {}) if is_atari(env) else {}
