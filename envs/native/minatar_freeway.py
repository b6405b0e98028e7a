"""MinAtar's Freeway on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import State
from gymnast.envs.native.minatar import DOWN, NOTHING, SIDE, UP, MinAtar, countdown

CARS, LANE, TIME_LIMIT, REST = 8, 4, 2500, 3
"""Cars, the chicken's column, steps of an episode less one, steps from one move of the chicken to the next."""


class Freeway(MinAtar):
    """Walk a chicken up across eight lanes of cars.

    ## Description
    MinAtar's Freeway (Young & Tian 2019), all rows at once. The chicken can move at every third step; a car that hits
    it sends it back to the bottom. Each lane has one car, which drives around the board, one cell every few
    steps. Whenever the chicken reaches the top, it starts again and all cars get new speeds and directions.

    ## Action Space
    `Discrete(3)`: nothing (0), up (1), down (2); with `full_actions` MinAtar's six: nothing, left, up, right, down,
    fire. With probability `sticky` the last action is repeated.

    ## Observation Space
    `Box(bool, (10, 10, 7))`, channels: chicken, car, and the cell behind a car in one of five, by the car's speed.

    ## Rewards
    1 when the chicken reaches the top.

    ## Starting State
    The chicken at the bottom, all cars in column 0, each with a uniform speed of 5 and a uniform direction.

    ## Episode End
    Terminated (not truncated, as in MinAtar) at step 2501; the observation does not show the time.

    ## Arguments
    * `sticky` (0.1): the probability that the last action is repeated; in MinAtar the first step of an episode may
      repeat the episode before, here it repeats "nothing".
    * `ramping` (True): without effect, as in MinAtar.
    * `full_actions` (False): all six actions.

    ## Version History
    * v1: as MinAtar's v1
    """

    channels = ("chicken", "car", "speed1", "speed2", "speed3", "speed4", "speed5")
    minimal_actions = (NOTHING, UP, DOWN)

    def prepare(self) -> None:
        self.rows = torch.arange(1, CARS + 1, device=self.device)
        self.powers = torch.tensor([1, 10, 100, 1000], device=self.device)
        self.kinds = torch.tensor([0] + CARS * [1], device=self.device)  # the chicken's channel and the cars'

    def begin(self, draws: Draws) -> State:
        speed = self._speeds(draws, 0)
        zero = torch.zeros_like(speed[:, 0])
        return {
            "pos": zero + 9,
            "move_timer": zero + REST,
            "terminate_timer": zero + TIME_LIMIT,
            "car_x": torch.zeros_like(speed),
            "car_timer": speed.abs(),
            "car_speed": speed,
        }

    def _speeds(self, draws: Draws, index: int) -> Tensor:
        """Of new traffic, int64 [N, 8]: a car moves at every |speed|-th step after one, 1 to 5, to the right where
        it is positive."""
        numbers = torch.stack([draws.integer(index, 10**4), draws.integer(index + 1, 10**4)], 1)
        digits = (numbers[:, :, None] // self.powers % 10).flatten(1)  # one for each car
        return torch.where(digits < 5, digits + 1, 4 - digits)

    def act(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        move = self.dy[action] * (state["move_timer"] == 0)
        pos = (state["pos"] + move).clamp(0, 9)
        move_timer = torch.where(move != 0, REST, state["move_timer"])
        arrived = pos == 0
        pos = torch.where(arrived, 9, pos)
        renewed, speed = self._speeds(draws, 1), state["car_speed"]
        timer = torch.where(arrived[:, None], renewed.abs(), state["car_timer"])
        speed = torch.where(arrived[:, None], renewed, speed)
        drives, x = timer == 0, state["car_x"]
        ahead = torch.where(drives, (x + speed.sign()) % SIDE, x)
        hit = ((self.rows == pos[:, None]) & ((x == LANE) | (ahead == LANE))).any(1)
        after = {
            "pos": torch.where(hit, 9, pos),
            "move_timer": countdown(move_timer),
            "terminate_timer": state["terminate_timer"] - 1,
            "car_x": ahead,
            "car_timer": torch.where(drives, speed.abs(), timer - 1),
            "car_speed": speed,
        }
        return after, arrived, after["terminate_timer"] < 0

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.freeway", **self.row_options())

    def observe(self, state: State) -> Tensor:
        x, speed, row = state["car_x"], state["car_speed"], SIDE * self.rows
        behind = row + (x - speed.sign()) % SIDE
        chicken = SIDE * state["pos"][:, None] + LANE
        places = torch.cat([chicken, row + x, behind], 1)  # [N, 17]
        return self.marked(places, torch.cat([self.kinds.expand(len(x), -1), 1 + speed.abs()], 1))
