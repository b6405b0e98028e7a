"""Catch: a ball falls down a small board and a paddle must be under it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

CELL = 16  # pixels of one cell of the rendered board


class Catch(gym.Env[NDArray[np.float32], Any]):
    """A ball falls one row a step; move the paddle under it before it lands.

    ## Description
    The board of Mnih et al. (2014, "Recurrent models of visual attention") as reinforcement learning uses it since:
    the ball starts in the top row in a random column, the paddle in the middle of the bottom row.

    ## Action Space
    `Discrete(3)`: 0 moves the paddle left, 1 stays, 2 moves it right; the walls stop it.

    ## Observation Space
    `Box(0, 1, (rows, columns), float32)`: 1 where the ball and the paddle are, 0 elsewhere. One board holds the whole
    state.

    ## Rewards
    When the ball reaches the bottom row: +1 if the paddle is there, else -1; 0 before. The optimal return is +1 on a
    board that is deep enough for the paddle to reach every column.

    ## Starting State
    The ball's column is uniform; the paddle is in column `columns // 2`.

    ## Episode End
    Terminated when the ball reaches the bottom row: after exactly `rows - 1` steps.

    ## Arguments
    `rows` (10) and `columns` (5), at least 2 and 1.

    ## Version History
    * v0: first version
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 - gymnasium's own attribute

    def __init__(self, rows: int = 10, columns: int = 5, *, render_mode: str | None = None) -> None:
        if rows < 2:
            raise ValueError(f"rows must be >= 2, got {rows}")
        if columns < 1:
            raise ValueError(f"columns must be >= 1, got {columns}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, got {render_mode!r}")
        self.observation_space = gym.spaces.Box(0.0, 1.0, (rows, columns), np.float32)
        self.action_space = gym.spaces.Discrete(3)
        self.render_mode = render_mode
        self.rows, self.columns = rows, columns
        self.ball_row = self.ball_column = 0
        self.paddle = columns // 2

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.ball_row = 0
        self.ball_column = int(self.np_random.integers(self.columns))
        self.paddle = self.columns // 2
        return self._board(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.paddle = min(max(self.paddle + int(action) - 1, 0), self.columns - 1)
        self.ball_row += 1
        landed = self.ball_row == self.rows - 1
        reward = (1.0 if self.paddle == self.ball_column else -1.0) if landed else 0.0
        return self._board(), reward, landed, False, {}

    def _board(self) -> NDArray[np.float32]:
        board = np.zeros((self.rows, self.columns), np.float32)  # [rows, columns]
        board[self.ball_row, self.ball_column] = 1.0
        board[-1, self.paddle] = 1.0
        return board

    def render(self) -> NDArray[np.uint8] | None:
        """The board, uint8 [16 rows, 16 columns, 3]: ball orange, paddle blue."""
        if self.render_mode is None:
            return None
        picture = np.full((self.rows, self.columns, 3), 24, np.uint8)
        picture[-1, self.paddle] = (66, 135, 245)
        picture[self.ball_row, self.ball_column] = (245, 161, 66)
        return picture.repeat(CELL, 0).repeat(CELL, 1)

    def snapshot(self) -> dict[str, Any]:
        """Everything that the future depends on, as plain Python values."""
        return {
            "ball": [self.ball_row, self.ball_column],
            "paddle": self.paddle,
            "np_random": self.np_random.bit_generator.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.ball_row, self.ball_column = snapshot["ball"]
        self.paddle = snapshot["paddle"]
        self.np_random.bit_generator.state = snapshot["np_random"]
