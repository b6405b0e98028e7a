"""MinAtar's Breakout on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import State
from gymnast.envs.native.minatar import LEFT, NOTHING, RIGHT, SIDE, MinAtar


class Breakout(MinAtar):
    """Keep a ball in play with a paddle and break the bricks of three rows.

    ## Description
    MinAtar's Breakout (Young & Tian 2019) for all rows. The ball moves diagonally and is reflected by walls,
    bricks and the paddle: straight up where it falls onto the paddle's cell, back where it comes down beside it. A
    wall of bricks that was cleared is built again when the ball next comes down to the paddle.

    ## Action Space
    `Discrete(3)`: nothing (0), left (1), right (2); with `full_actions` MinAtar's six: nothing, left, up, right, down,
    fire. With probability `sticky` the last action is repeated.

    ## Observation Space
    `Box(bool, (10, 10, 4))`, channels: paddle, ball, trail (where the ball was), bricks.

    ## Rewards
    1 for each brick.

    ## Starting State
    All 30 bricks; the ball at the left or the right edge below them, with equal probability; the paddle in column 4.

    ## Episode End
    Terminated when the ball passes the paddle.

    ## Arguments
    * `sticky` (0.1): the probability that the last action is repeated; in MinAtar the first step of an episode may
      repeat the episode before, here it repeats "nothing".
    * `ramping` (True): without effect, as in MinAtar.
    * `full_actions` (False): all six actions.

    ## Version History
    * v1: as MinAtar's v1
    """

    channels = ("paddle", "ball", "trail", "brick")
    minimal_actions = (NOTHING, LEFT, RIGHT)

    def prepare(self) -> None:
        self.wall = (self.cells >= SIDE) & (self.cells < 4 * SIDE)
        self.three = torch.arange(3, device=self.device)

    def begin(self, draws: Draws) -> State:
        side = draws.integer(0, 2)
        return {
            "ball_x": side * 9,
            "ball_y": torch.full_like(side, 3),
            "last_x": side * 9,
            "last_y": torch.full_like(side, 3),
            "dx": 1 - 2 * side,
            "dy": torch.ones_like(side),
            "pos": torch.full_like(side, 4),
            "strike": torch.zeros_like(side, dtype=torch.bool),
            "brick_map": self.wall.repeat(len(side), 1),
        }

    def act(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        last_x, last_y, bricks = state["ball_x"], state["ball_y"], state["brick_map"]
        pos = (state["pos"] + self.dx[action]).clamp(0, 9)
        x, y = last_x + state["dx"], (last_y + state["dy"]).clamp(0, 9)
        turn_x = (x < 0) | (x > 9)
        x = x.clamp(0, 9)
        cell = (SIDE * y + x)[:, None]
        struck = bricks.gather(1, cell)[:, 0]
        broken = struck & ~state["strike"]  # the step after one that broke a brick goes through the next
        bottom = y == 9
        straight = bottom & (last_x == pos)
        beside = bottom & (x == pos) & ~straight
        returned = straight | beside
        bricks = bricks & ~(broken[:, None] & (self.cells == cell))
        bricks = bricks | (self.wall & (bottom & ~bricks.any(1))[:, None])
        turn_y = (last_y + state["dy"] < 0) | broken | returned
        after = {
            "ball_x": x,
            "ball_y": torch.where(broken | returned, last_y, y),
            "last_x": last_x,
            "last_y": last_y,
            "dx": torch.where(turn_x ^ beside, -state["dx"], state["dx"]),
            "dy": torch.where(turn_y, -state["dy"], state["dy"]),
            "pos": pos,
            "strike": struck,
            "brick_map": bricks,
        }
        return after, broken, bottom & ~returned

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.breakout", **self.row_options())

    def observe(self, state: State) -> Tensor:
        ball = SIDE * state["ball_y"] + state["ball_x"]
        trail = SIDE * state["last_y"] + state["last_x"]
        board = self.marked(torch.stack([9 * SIDE + state["pos"], ball, trail], 1), self.three)
        board[..., 3] = state["brick_map"].view(-1, SIDE, SIDE)
        return board
