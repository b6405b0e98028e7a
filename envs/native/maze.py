"""Maze: a gridworld that is drawn as text."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.canvas import BACKGROUND, cells
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State
from gymnast.envs.step import TransitionTable

DYNA = (
    ".......#G",
    "..#....#.",
    "S.#....#.",
    "..#......",
    ".....#...",
    ".........",
)
"""The maze of Sutton & Barto (2018), figure 8.2: the goal is 14 steps away."""
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Rows and columns of up, right, down, left."""
COLOURS = {"#": (110, 110, 110), "S": (45, 45, 60), "G": (80, 200, 120), "T": (220, 70, 70)}


class Maze(Game):
    """Find the way from the start to the goal of a map of your own.

    ## Description
    A gridworld of walls `#`, free cells `.`, starts `S`, goals `G` and traps `T`. The default map is the
    maze of Sutton & Barto (2018, "Reinforcement learning", figure 8.2).

    ## Action Space
    `Discrete(4)`: 0 up, 1 right, 2 down, 3 left; walls and the map's edge stop the move.

    ## Observation Space
    `Discrete(rows * columns)`: the cell, row by row. With `observation="board"` it is
    `Box(0, 1, (4, rows, columns), float32)`: planes of 1 where the walker, walls, goals and traps are.

    ## Rewards
    +1 for entering a goal, -1 for entering a trap, 0 otherwise; `step_cost` less in each step.

    ## Starting State
    A start; which one is uniform.

    ## Episode End
    Terminated in a goal or a trap; truncated after 500 steps (the id's time limit).

    ## Arguments
    `map`, its rows as a list of strings, or as one with "/" between them; `step_cost` (0); `observation` ("cell") or
    "board".

    ## Version History
    * v0: first version
    """

    render_fps = 8

    def __init__(
        self,
        map: str | Sequence[str] = DYNA,
        *,
        device: torch.device,
        step_cost: float = 0.0,
        observation: str = "cell",
    ) -> None:
        super().__init__(device=device)
        if observation not in ("cell", "board"):
            raise ValueError(f"observation must be cell or board, got {observation!r}")
        self.map = _read(map)
        self.rows, self.columns = self.map.shape
        flat = self.map.ravel()
        self.step_cost, self.board = float(step_cost), observation == "board"
        self.action_space = gym.spaces.Discrete(4)
        self.observation_space = (
            gym.spaces.Box(0.0, 1.0, (4, self.rows, self.columns), np.float32)
            if self.board
            else gym.spaces.Discrete(flat.size)
        )
        self.target = _targets(self.map)
        self.ends = np.isin(flat, ("G", "T"))
        self.reward = (flat == "G") * 1.0 - (flat == "T") * 1.0 - self.step_cost
        starts = np.flatnonzero(flat == "S")
        _check_ways(starts, self.target, self.ends, flat)
        self._starts = torch.from_numpy(starts).to(device)
        self._target = torch.from_numpy(self.target.ravel()).to(device)  # int64 [S * 4]
        self._ends = torch.from_numpy(self.ends).to(device)  # bool [S]
        self._reward = torch.from_numpy(self.reward.astype(np.float32)).to(device)  # float32 [S]
        planes = np.stack([self.map == letter for letter in "#GT"]).reshape(3, -1)
        self._planes = torch.from_numpy(planes.astype(np.float32)).to(device)  # [3, S]
        self._cells = torch.arange(flat.size, device=device)

    def initial(self, draws: Draws) -> State:
        return {"at": self._starts[draws.integer(0, len(self._starts))]}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        at = self._target[state["at"] * 4 + action]
        return {"at": at}, self._reward[at], self._ends[at]

    def observe(self, state: State) -> Tensor:
        at = state["at"]
        if not self.board:
            return at
        walker = (self._cells == at[:, None]).to(torch.float32)[:, None]  # [N, 1, S]
        return torch.cat([walker, self._planes.expand(len(at), 3, -1)], 1).view(-1, 4, self.rows, self.columns)

    def row_rules(self) -> RowRules:
        return RowRules.of(
            "gymnast.envs.kernels.maze",
            show="show_board" if self.board else "show",
            target=self.target,
            starts=self._starts.numpy(),
            ends=self.ends,
            reward=self._reward.numpy(),
            planes=self._planes.view(3, self.rows, self.columns).numpy(),
        )

    def transition_table(self) -> TransitionTable | None:
        """The map's dynamics; None if the observation is the board. No action leaves a goal or trap."""
        if self.board:
            return None
        states, ends = len(self.ends), self.ends[:, None]
        initial = (self.map.ravel() == "S").astype(np.float64)
        after = np.where(ends, np.arange(states)[:, None], self.target)
        return TransitionTable(
            probability=np.ones((states, 4, 1)),
            next_state=after[..., None],
            reward=np.where(ends, 0.0, self.reward[after])[..., None],
            terminated=self.ends[after][..., None],
            initial=initial / initial.sum(),
            max_episode_steps=None,
        )

    def render(self, state: State) -> np.ndarray:
        """The map, uint8 [24 rows, 24 columns, 3]: walls grey, goals green, traps red, walker orange."""
        picture = np.full((*self.map.shape, 3), BACKGROUND, np.uint8)
        for letter, colour in COLOURS.items():
            picture[self.map == letter] = colour
        picture.reshape(-1, 3)[int(state["at"])] = (245, 161, 66)
        return cells(picture, 24)


def _read(map: str | Sequence[str]) -> np.ndarray:
    """Letters [rows, columns]; ValueError if it is not a map."""
    rows = map.split("/") if isinstance(map, str) else list(map)
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"map must have rows of one length, at least 1, got {'/'.join(rows)!r}")
    letters = np.array([list(row) for row in rows])
    unknown = sorted(set(letters.ravel().tolist()) - set("#.SGT"))
    if unknown:
        raise ValueError(f"map must contain only # . S G T, got {unknown[0]!r}")
    if not (letters == "S").any():
        raise ValueError("map must have a start S")
    return letters


def _targets(letters: np.ndarray) -> np.ndarray:
    """The next cell of each action from each cell, int64 [S, 4]."""
    rows, columns = letters.shape
    row, column = np.divmod(np.arange(rows * columns), columns)
    target = np.empty((rows * columns, 4), np.int64)
    for action, (down, right) in enumerate(MOVES):
        below, beside = (row + down).clip(0, rows - 1), (column + right).clip(0, columns - 1)
        free = letters[below, beside] != "#"
        target[:, action] = np.where(free, below * columns + beside, np.arange(rows * columns))
    return target


def _check_ways(starts: np.ndarray, target: np.ndarray, ends: np.ndarray, letters: np.ndarray) -> None:
    """ValueError unless a goal can be reached from each start."""
    near = letters == "G"
    for _ in range(len(letters)):
        near = near | (near[target].any(1) & ~ends)
    if not near[starts].all():
        raise ValueError("map must have a path from each start S to a goal G")
