"""The common part of the five MinAtar games on the device: sticky actions, action sets, the board and its picture."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.native.canvas import BACKGROUND, cells
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State

SIDE, CELLS = 10, 100
NONE = -9
"""The column of an absent object: neither it nor the cell next to it is on the board."""
NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)
PALETTE = np.array(
    [
        BACKGROUND,
        (66, 135, 245),
        (245, 161, 66),
        (110, 110, 110),
        (210, 75, 75),
        (240, 220, 90),
        (120, 200, 110),
        (170, 110, 220),
        (90, 200, 220),
        (245, 150, 190),
        (235, 235, 235),
    ],
    np.uint8,
)
"""The background and a colour for each channel, in their order."""


class MinAtar(Game):
    """A game of MinAtar (Young & Tian 2019, arXiv:1903.03176): a board of 10 x 10 cells, a channel for each kind of
    object.

    A cell is numbered 10 * row + column. State tensors have the names of MinAtar's own attributes.

    Raises:
        ValueError: `sticky` is not a probability.
    """

    render_fps = 10
    compiles_on_cpu = False  # measured: 3 to 15 times slower, with or without its draws in the compiled code
    channels: tuple[str, ...]
    minimal_actions: tuple[int, ...]

    def __init__(
        self, *, device: torch.device, sticky: float = 0.1, ramping: bool = True, full_actions: bool = False
    ) -> None:
        super().__init__(device=device)
        if not 0.0 <= sticky <= 1.0:
            raise ValueError(f"sticky must be from 0 to 1, got {sticky}")
        self.sticky, self.ramping = float(sticky), bool(ramping)
        actions = tuple(range(6)) if full_actions else self.minimal_actions
        self.action_space = gym.spaces.Discrete(len(actions))
        self.observation_space = gym.spaces.Box(0.0, 1.0, (SIDE, SIDE, len(self.channels)), bool)
        self.actions = torch.tensor(actions, device=device)
        self.dx = torch.tensor([0, -1, 0, 1, 0, 0], device=device)  # of each of the six actions
        self.dy = torch.tensor([0, 0, -1, 0, 1, 0], device=device)
        self.cells = torch.arange(CELLS, device=device)
        self.columns = self.cells[:SIDE]
        self.prepare()

    def prepare(self) -> None:
        """Make the constant tensors of the game."""

    def initial(self, draws: Draws) -> State:
        state = self.begin(draws)
        return {**state, "last_action": torch.zeros_like(draws.bits(0))}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        wanted = self.actions[action]
        action = torch.where(draws.uniform(0) < self.sticky, state["last_action"], wanted)
        after, reward, terminated = self.act(state, action, draws)
        return {**after, "last_action": action}, reward.to(torch.float32), terminated

    @abstractmethod
    def begin(self, draws: Draws) -> State:
        """The state of new episodes, without `last_action`."""

    @abstractmethod
    def act(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        """As `step`, for one of the six actions; may draw from index 1 on."""

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """The board, bool [N, 10, 10, C]."""

    def row_options(self) -> dict[str, Any]:
        """The options of the rules of one row, of one shape, so that one compiled form serves all."""
        actions = np.zeros(6, np.int64)
        actions[: len(self.actions)] = self.actions
        return {"sticky": np.float32(self.sticky), "ramping": self.ramping, "actions": actions}

    def marked(self, cells: Tensor, channels: Tensor | int) -> Tensor:
        """Boards of one object in each of some cells, bool [N, 10, 10, C]; cells int64 [N, K], CELLS for none."""
        kinds = len(self.channels)
        places = torch.where(cells < CELLS, kinds * cells + channels, kinds * CELLS)
        board = torch.zeros(len(cells), kinds * CELLS + 1, dtype=torch.bool, device=cells.device)
        return board.scatter_(1, places, True)[:, :-1].view(-1, SIDE, SIDE, kinds)

    def render(self, state: State) -> np.ndarray:
        """The board, uint8 [160, 160, 3], each cell in the colour of the last channel that is set there."""
        obs = self.observe({name: value[None].to(self.device) for name, value in state.items()})[0].cpu().numpy()
        return cells(PALETTE[(obs * np.arange(1, obs.shape[-1] + 1)).max(-1)], 160 // SIDE)


def driven(x: Tensor, dx: Tensor, moves: Tensor) -> Tensor:
    """Columns of objects, int64 [...], after those that move went by `dx`; who left the board is not there anymore."""
    ahead = torch.where(moves & (x >= 0), x + dx, x)
    return torch.where((ahead < 0) | (ahead >= SIDE), NONE, ahead)


def countdown(timer: Tensor) -> Tensor:
    """A timer that stops at 0, one step later."""
    return (timer - 1).clamp(min=0)
