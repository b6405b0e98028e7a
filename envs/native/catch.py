"""gymnast/Catch-v0 on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State
from gymnast.envs.small import catch


class Catch(Game):
    """A ball falls one row a step; move the paddle under it before it lands.

    ## Description
    The rules of `gymnast.envs.small.catch.Catch`, all rows at once.

    ## Action Space
    `Discrete(3)`: 0 moves the paddle left, 1 stays, 2 moves it right; the walls stop it.

    ## Observation Space
    `Box(0, 1, (rows, columns), float32)`: 1 where the ball and the paddle are, 0 elsewhere.

    ## Rewards
    When the ball reaches the bottom row: +1 if the paddle is there, else -1; 0 before.

    ## Starting State
    The ball is in the top row, its column uniform; the paddle is in column `columns // 2`.

    ## Episode End
    Terminated when the ball reaches the bottom row: after exactly `rows - 1` steps.

    ## Arguments
    `rows` (10) and `columns` (5), at least 2 and 1.

    ## Version History
    * v0: first version
    """

    render_fps = 8

    def __init__(self, rows: int = 10, columns: int = 5, *, device: torch.device) -> None:
        super().__init__(device=device)
        self.single = catch.Catch(rows, columns, render_mode="rgb_array")
        self.observation_space, self.action_space = self.single.observation_space, self.single.action_space
        self.rows, self.columns = rows, columns
        self.places = torch.arange(rows * columns, device=device)

    def initial(self, draws: Draws) -> State:
        column = draws.integer(0, self.columns)
        row = torch.zeros_like(column)
        return {"row": row, "column": column, "paddle": torch.full_like(row, self.columns // 2)}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        row, column = state["row"] + 1, state["column"]
        paddle = (state["paddle"] + action - 1).clamp(0, self.columns - 1)
        landed = row == self.rows - 1
        reward = torch.where(landed, torch.where(paddle == column, 1.0, -1.0), 0.0)
        return {"row": row, "column": column, "paddle": paddle}, reward, landed

    def observe(self, state: State) -> Tensor:
        ball = state["row"] * self.columns + state["column"]
        paddle = state["paddle"] + (self.rows - 1) * self.columns
        board = (self.places == ball[:, None]) | (self.places == paddle[:, None])  # [N, rows * columns]
        return board.to(torch.float32).view(-1, self.rows, self.columns)

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.catch", rows=self.rows, columns=self.columns)

    def render(self, state: State) -> np.ndarray:
        """The board, uint8 [16 rows, 16 columns, 3]: ball orange, paddle blue."""
        self.single.ball_row, self.single.ball_column = int(state["row"]), int(state["column"])
        self.single.paddle = int(state["paddle"])
        picture = self.single.render()
        assert picture is not None
        return picture
