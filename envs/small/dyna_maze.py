"""DynaMaze: the mazes of Sutton & Barto (2018, chapter 8), one of them fixed and two that change."""

from __future__ import annotations

from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

CELL = 32  # pixels of one cell
ROWS, COLUMNS = 6, 9
GOAL = (0, 8)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
MazeName = Literal["fixed", "blocking", "shortcut"]
WALLS: dict[str, frozenset[tuple[int, int]]] = {
    "fixed": frozenset({(1, 2), (2, 2), (3, 2), (4, 5), (0, 7), (1, 7), (2, 7)}),
    "blocking": frozenset((3, column) for column in range(8)),
    "shortcut": frozenset((3, column) for column in range(1, 9)),
}
LATER: dict[str, frozenset[tuple[int, int]]] = {
    "blocking": frozenset((3, column) for column in range(1, 9)),
    "shortcut": frozenset((3, column) for column in range(1, 8)),
}
CHANGES = {"blocking": 1_000, "shortcut": 3_000}
"""Steps, of all episodes together, before a maze changes."""


class DynaMaze(gym.Env[Any, Any]):
    """Find the goal in a small maze, which may change under way.

    ## Description
    A grid of 6 rows and 9 columns with walls, and the goal in its upper right corner. `fixed` is the maze of figure
    8.2: its shortest path has 14 steps. `blocking` (figure 8.4) closes the passage on the right and opens one on the
    left after 1,000 steps: the path of 10 steps becomes one of 16. `shortcut` (figure 8.5) opens a second passage after
    3,000 steps: only those who look again find that 16 steps became 10.

    ## Action Space
    `Discrete(4)`: up, right, down, left. A move into a wall or over the edge changes nothing.

    ## Observation Space
    `Discrete(54)`: 9 times the row plus the column, counted from the upper left corner.

    ## Rewards
    1 for reaching the goal, else 0.

    ## Starting State
    Row 2, column 0 in `fixed`; row 5, column 3 in the others.

    ## Episode End
    Terminated at the goal.

    ## Arguments
    `maze` (`fixed`), and `change_after`: the steps, of all episodes together, before the maze changes. `fixed` has `P`
    and `initial_state_distrib` as Gymnasium's toy-text environments do.

    ## Version History
    * v0: first version
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 - gymnasium's own attribute

    def __init__(
        self, maze: MazeName = "fixed", *, change_after: int | None = None, render_mode: str | None = None
    ) -> None:
        if maze not in get_args(MazeName):
            raise ValueError(f"maze must be one of {', '.join(get_args(MazeName))}, got {maze!r}")
        if change_after is not None and (maze == "fixed" or change_after < 0):
            raise ValueError(f"change_after must be >= 0 and needs a maze that changes, got {change_after} of {maze}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, got {render_mode!r}")
        self.observation_space = gym.spaces.Discrete(ROWS * COLUMNS)
        self.action_space = gym.spaces.Discrete(len(MOVES))
        self.render_mode = render_mode
        self.maze = maze
        self.change_after = CHANGES.get(maze) if change_after is None else change_after
        self.start = (2, 0) if maze == "fixed" else (5, 3)
        self.state, self.steps = _number(self.start), 0
        self.initial_state_distrib = np.zeros(ROWS * COLUMNS)
        self.initial_state_distrib[self.state] = 1.0
        if maze == "fixed":
            every = range(ROWS * COLUMNS)
            self.P = {state: {action: [self._outcome(state, action)] for action in range(4)} for state in every}

    @property
    def walls(self) -> frozenset[tuple[int, int]]:
        """Rows and columns of the walls now."""
        changed = self.change_after is not None and self.steps >= self.change_after
        return LATER[self.maze] if changed else WALLS[self.maze]

    def _outcome(self, state: int, action: int) -> tuple[float, int, float, bool]:
        """(probability, next state, reward, terminated) of the only outcome."""
        place, move = divmod(state, COLUMNS), MOVES[action]
        target = (place[0] + move[0], place[1] + move[1])
        if not (0 <= target[0] < ROWS and 0 <= target[1] < COLUMNS) or target in self.walls:
            target = place
        return 1.0, _number(target), float(target == GOAL), target == GOAL

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = _number(self.start)
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        _, self.state, reward, terminated = self._outcome(self.state, int(action))
        self.steps += self.change_after is not None  # a fixed maze has no future that depends on it
        return self.state, reward, terminated, False, {}

    def render(self) -> NDArray[np.uint8] | None:
        """The maze, uint8 [192, 288, 3]: walls grey, the goal green, the agent orange."""
        if self.render_mode is None:
            return None
        picture = np.full((ROWS, COLUMNS, 3), 24, np.uint8)
        for wall in self.walls:
            picture[wall] = 130
        picture[GOAL] = (66, 160, 90)
        picture[divmod(self.state, COLUMNS)] = (245, 161, 66)
        picture = picture.repeat(CELL, 0).repeat(CELL, 1)
        picture[::CELL], picture[:, ::CELL] = 60, 60  # lines between the cells
        return picture

    def snapshot(self) -> dict[str, Any]:
        """Everything that the future depends on, as plain Python values."""
        return {"state": self.state, "steps": self.steps, "np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.state, self.steps = snapshot["state"], snapshot["steps"]
        self.np_random.bit_generator.state = snapshot["np_random"]


def _number(place: tuple[int, int]) -> int:
    return place[0] * COLUMNS + place[1]
