"""Deep sea: a treasure that only one way of acting finds, and every step towards it costs."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.canvas import BACKGROUND, cells
from gymnast.envs.native.draws import Draws, row_keys
from gymnast.envs.native.game import Game, State

MOVE_COST = 0.01


class DeepSea(Game):
    """Dive through a grid, one row a step, and be in the rightmost column at the bottom.

    ## Description
    The deterministic exploration problem of Osband et al. (2020, "Behaviour suite for reinforcement learning"): a
    diver sinks one row a step and goes left or right. Random actions find the treasure once in `2**size` episodes.

    ## Action Space
    `Discrete(2)`: 0 goes left, 1 goes right; with `randomise` it is the other way about in half of the cells. The
    walls stop the diver.

    ## Observation Space
    `Box(0, 1, (size, size), float32)`: 1 in the diver's cell, 0 elsewhere; zeros after the last step.

    ## Rewards
    -0.01 / size for going right, 0 for going left, and +1 for going right in the bottom right cell. The optimal return
    is 0.99, that without the treasure 0.

    ## Starting State
    The upper left cell.

    ## Episode End
    Terminated after exactly `size` steps.

    ## Arguments
    `size` (10), at least 1; `randomise` (False), and `mapping_seed` (0), of which cells swap the two actions: that is
    the same in all rows and episodes.

    ## Version History
    * v0: first version
    """

    render_fps = 8

    def __init__(self, size: int = 10, *, device: torch.device, randomise: bool = False, mapping_seed: int = 0) -> None:
        super().__init__(device=device)
        if size < 1:
            raise ValueError(f"size must be >= 1, got {size}")
        if mapping_seed < 0:
            raise ValueError(f"mapping_seed must be >= 0, got {mapping_seed}")
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size, size), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.size = size
        self.places = torch.arange(size * size, device=device)
        # One random bit per cell: the sign of the key of a row with that number.
        swapped = row_keys(mapping_seed, size * size, device=device) < 0
        self.right = torch.where(swapped & randomise, 0, 1)
        """int64 [size * size], the action that goes right in each cell."""

    def initial(self, draws: Draws) -> State:
        zero = torch.zeros_like(draws.bits(0))
        return {"row": zero, "column": zero}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        row, column = state["row"], state["column"]
        right = action == self.right[row * self.size + column]
        cost = MOVE_COST / self.size
        found = torch.where(column == self.size - 1, 1.0 - cost, -cost)
        reward = torch.where(right, found, 0.0)
        column = (column + torch.where(right, 1, -1)).clamp(0, self.size - 1)
        row = row + 1
        return {"row": row, "column": column}, reward, row == self.size

    def observe(self, state: State) -> Tensor:
        place = state["row"] * self.size + state["column"]
        return (self.places == place[:, None]).to(torch.float32).view(-1, self.size, self.size)

    def row_rules(self) -> RowRules:
        right = self.right.view(self.size, self.size).numpy()
        return RowRules.of("gymnast.envs.kernels.deep_sea", size=self.size, cost=MOVE_COST / self.size, right=right)

    def render(self, state: State) -> np.ndarray:
        """The grid, uint8 [16 size, 16 size, 3]: treasure green, diver orange."""
        board = np.full((self.size, self.size, 3), BACKGROUND, np.uint8)
        board[-1, -1] = (80, 200, 120)
        if int(state["row"]) < self.size:
            board[int(state["row"]), int(state["column"])] = (245, 161, 66)
        return cells(board, 16)
