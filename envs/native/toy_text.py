"""FrozenLake, CliffWalking and Taxi on the device, by the tables of Gymnasium's own environments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.envs.toy_text import CliffWalkingEnv, FrozenLakeEnv, TaxiEnv
from gymnasium.envs.toy_text.frozen_lake import MAPS

from gymnast.envs.native.canvas import Canvas, Colour, cells
from gymnast.envs.native.game import State
from gymnast.envs.native.table import TableGame
from gymnast.envs.rows.transition_table import transition_table
from gymnast.envs.step import TransitionTable

ICE, HOLE, GOAL, START, GROUND = (190, 215, 235), (25, 45, 90), (80, 200, 120), (225, 225, 190), (70, 90, 70)
AGENT: Colour = (245, 161, 66)
PADS: tuple[Colour, ...] = ((220, 70, 70), (80, 200, 120), (225, 205, 80), (66, 135, 245))


class FrozenLake(TableGame):
    """Cross a frozen lake from start to goal without falling into a hole.

    ## Description
    Gymnasium's FrozenLake-v1, all rows at once: on a slippery lake a step goes where it was meant to with
    `success_rate`, else to either side with equal probability.

    ## Action Space
    `Discrete(4)`: left (0), down (1), right (2), up (3).

    ## Observation Space
    `Discrete(rows * columns)`: row * columns + column.

    ## Rewards
    `reward_schedule`: for reaching the goal, for a hole, for any other step.

    ## Starting State
    On S, each with equal probability if there are several.

    ## Episode End
    Terminated on the goal or in a hole; truncated after 100 steps on 4x4, 200 on 8x8 (the ids' time limits).

    ## Arguments
    * `desc` (None): the map, a string for each row of S (start), F (frozen), H (hole) and G (goal).
    * `map_name` ("4x4"; "8x8" in FrozenLake8x8-v1): "4x4" or "8x8", if `desc` is not given.
    * `is_slippery` (True), `success_rate` (1/3), `reward_schedule` ((1, 0, 0)): see above.

    ## Version History
    * v1: as Gymnasium's v1
    """

    def __init__(
        self,
        *,
        device: torch.device,
        desc: Sequence[str] | None = None,
        map_name: str = "4x4",
        is_slippery: bool = True,
        success_rate: float = 1.0 / 3.0,
        reward_schedule: tuple[float, float, float] = (1, 0, 0),
    ) -> None:
        if desc is None and map_name not in MAPS:
            raise ValueError(f"map_name must be one of {', '.join(MAPS)} without desc, got {map_name!r}")
        env = FrozenLakeEnv(
            desc=list(MAPS[map_name] if desc is None else desc),
            is_slippery=is_slippery,
            success_rate=success_rate,
            reward_schedule=reward_schedule,  # type: ignore[arg-type] # adds floats up as well as ints
        )
        super().__init__(_table(env), device=device)
        colours = {b"S": START, b"H": HOLE, b"G": GOAL}
        letters = np.asarray(env.desc).tolist()
        self._colours = np.array([[colours.get(letter, ICE) for letter in row] for row in letters], np.uint8)

    def render(self, state: State) -> np.ndarray:
        """The map and the agent's position, uint8 [H, W, 3]."""
        return _board(self._colours, int(state["state"]))


class FrozenLake8x8(FrozenLake):
    __doc__ = FrozenLake.__doc__

    def __init__(self, *, device: torch.device, map_name: str = "8x8", **options: Any) -> None:
        super().__init__(device=device, map_name=map_name, **options)


class CliffWalking(TableGame):
    """Walk along a cliff from start to goal (Sutton & Barto 2018, example 6.6).

    ## Description
    Gymnasium's CliffWalking-v1, all rows at once: 4 x 12 cells, the cliff between start and goal in the lowest row;
    stepping into it leads back to the start.

    ## Action Space
    `Discrete(4)`: up (0), right (1), down (2), left (3).

    ## Observation Space
    `Discrete(48)`: row * 12 + column.

    ## Rewards
    -1 for each step, -100 for one into the cliff.

    ## Starting State
    State 36, the lower left corner.

    ## Episode End
    Terminated in state 47, the lower right corner. No time limit.

    ## Arguments
    * `is_slippery` (False; True in CliffWalkingSlippery-v1): a step goes where it was meant to and to either side of it
      with probability 1/3 each.

    ## Version History
    * v1: as Gymnasium's v1
    """

    def __init__(self, *, device: torch.device, is_slippery: bool = False) -> None:
        env = CliffWalkingEnv(is_slippery=is_slippery)
        super().__init__(_table(env), device=device)
        self._colours = np.full((*env.shape, 3), GROUND, np.uint8)
        self._colours[3, 1:-1] = HOLE
        self._colours[3, 0], self._colours[3, -1] = START, GOAL

    def render(self, state: State) -> np.ndarray:
        """The cells and the agent's position, uint8 [128, 384, 3]."""
        return _board(self._colours, int(state["state"]))


class CliffWalkingSlippery(CliffWalking):
    __doc__ = CliffWalking.__doc__

    def __init__(self, *, device: torch.device, is_slippery: bool = True) -> None:
        super().__init__(device=device, is_slippery=is_slippery)


class Taxi(TableGame):
    """Pick a passenger up and take them where they want to go (Dietterich 2000).

    ## Description
    Gymnasium's Taxi-v4, all rows at once: 5 x 5 cells with walls, four of them stands.

    ## Action Space
    `Discrete(6)`: south (0), north (1), east (2), west (3), pick up (4), drop off (5). The action mask leaves out
    actions that would change nothing.

    ## Observation Space
    `Discrete(500)`: ((row * 5 + column) * 5 + passenger) * 4 + destination; passenger 4 is in the taxi.

    ## Rewards
    -1 for each step, 20 for the drop-off at the destination, -10 for a pick-up or drop-off that the mask leaves out.

    ## Starting State
    Any place of the taxi, the passenger at a stand that is not the destination.

    ## Episode End
    Terminated when the passenger is at the destination; truncated after 200 steps (the id's time limit).

    ## Arguments
    * `is_rainy` (False): the taxi moves as it was meant to with `rainy_probability` (0.8), else to either side.
    * `fickle_passenger`: not here, since the passenger's change of mind is not in Gymnasium's table.

    ## Version History
    * v4: as Gymnasium's v4
    """

    def __init__(
        self,
        *,
        device: torch.device,
        is_rainy: bool = False,
        rainy_probability: float = 0.8,
        fickle_passenger: bool = False,
    ) -> None:
        if fickle_passenger:
            raise ValueError(
                "fickle_passenger must be False: the device-native Taxi is a transition table, which cannot express it"
            )
        self._env = TaxiEnv(is_rainy=is_rainy, rainy_probability=rainy_probability)
        table = _table(self._env)
        allowed = np.array([self._env.action_mask(state) for state in range(len(table.initial))], np.bool_)
        super().__init__(table, device=device, allowed=allowed)

    def render(self, state: State) -> np.ndarray:
        """Walls, stands, the destination (a rim), the passenger (a disc) and the taxi, uint8 [160, 160, 3]."""
        row, column, passenger, destination = self._env.decode(int(state["state"]))
        canvas, size = Canvas(160, 160, GROUND), 32
        for stand, ((y, x), colour) in enumerate(zip(self._env.locs, PADS, strict=True)):
            left, top, wide = x * size, y * size, 31 if stand == destination else 23
            canvas.box(left + 31 - wide, top + 31 - wide, left + wide, top + wide, colour)
            if stand == destination:
                canvas.box(left + 4, top + 4, left + 27, top + 27, GROUND)
        for y in range(5):
            for x in range(1, 5):
                if self._env.desc[1 + y, 2 * x] == b"|":
                    canvas.line((x * size, y * size), (x * size, y * size + 31), (230, 230, 230))
        left, top = column * size, row * size
        canvas.box(left + 6, top + 10, left + 25, top + 21, AGENT)
        y, x = (row, column) if passenger == 4 else self._env.locs[passenger]
        canvas.disc((x * size + 15.5, y * size + 15.5), 5, (250, 250, 250))
        return canvas.pixels


def _table(env: Any) -> TransitionTable:
    table = transition_table(env, math.inf)
    assert table is not None
    return table


def _board(colours: np.ndarray, state: int) -> np.ndarray:
    """Cells of these colours [rows, columns, 3] and the agent in one of them."""
    rows, columns = colours.shape[:2]
    size = max(4, min(32, 512 // max(rows, columns)))
    canvas = Canvas(rows * size, columns * size)
    canvas.pixels[:] = cells(colours, size)
    row, column = divmod(state, columns)
    canvas.disc(((column + 0.5) * size - 0.5, (row + 0.5) * size - 0.5), size / 3, AGENT)
    return canvas.pixels
