"""MinAtar's Asterix on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import State
from gymnast.envs.native.minatar import CELLS, DOWN, LEFT, NONE, NOTHING, RIGHT, SIDE, UP, MinAtar, driven

LANES = 8
SPAWN_INTERVAL, MOVE_INTERVAL, RAMP_INTERVAL = 10, 5, 100


class Asterix(MinAtar):
    """Collect treasure and avoid enemies that cross the board.

    ## Description
    MinAtar's Asterix (Young & Tian 2019), all rows at once. Enemies and treasure come in from the left or the right, at
    most one in each of eight rows; with `ramping` they come and move faster over time.

    ## Action Space
    `Discrete(5)`: nothing (0), left (1), up (2), right (3), down (4); with `full_actions` MinAtar's six, with fire as
    the last. With probability `sticky` the last action is repeated.

    ## Observation Space
    `Box(bool, (10, 10, 4))`, channels: player, enemy, trail (the cell behind an enemy or treasure), treasure.

    ## Rewards
    1 for each treasure.

    ## Starting State
    The player in row 5 and column 5 of an empty board.

    ## Episode End
    Terminated when an enemy and the player meet.

    ## Arguments
    * `sticky` (0.1): the probability that the last action is repeated; in MinAtar the first step of an episode may
      repeat the episode before, here it repeats "nothing".
    * `ramping` (True): about every 100 steps the game gets faster.
    * `full_actions` (False): all six actions.

    ## Version History
    * v1: as MinAtar's v1
    """

    channels = ("player", "enemy", "trail", "gold")
    minimal_actions = (NOTHING, LEFT, UP, RIGHT, DOWN)

    def prepare(self) -> None:
        self.rows = torch.arange(1, LANES + 1, device=self.device)

    def begin(self, draws: Draws) -> State:
        zero = torch.zeros_like(draws.bits(0))
        empty = zero[:, None].repeat(1, LANES)
        return {
            "player_x": zero + 5,
            "player_y": zero + 5,
            "x": empty + NONE,
            "dx": empty,
            "gold": empty.bool(),
            "spawn_speed": zero + SPAWN_INTERVAL,
            "spawn_timer": zero + SPAWN_INTERVAL,
            "move_speed": zero + MOVE_INTERVAL,
            "move_timer": zero + MOVE_INTERVAL,
            "ramp_timer": zero + RAMP_INTERVAL,
            "ramp_index": zero,
        }

    def act(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        x, dx, gold = self._spawned(state, draws)
        player_x = (state["player_x"] + self.dx[action]).clamp(0, 9)
        player_y = (state["player_y"] + self.dy[action]).clamp(1, LANES)
        beside, place = self.rows == player_y[:, None], player_x[:, None]
        met = beside & (x == place)
        x = torch.where(met & gold, NONE, x)
        moves = state["move_timer"] == 0
        ahead = driven(x, dx, moves[:, None])
        met_again = beside & (ahead == place) & moves[:, None]
        after = {
            "player_x": player_x,
            "player_y": player_y,
            "x": torch.where(met_again & gold, NONE, ahead),
            "dx": dx,
            "gold": gold,
            "spawn_timer": torch.where(state["spawn_timer"] == 0, state["spawn_speed"], state["spawn_timer"]) - 1,
            "move_timer": torch.where(moves, state["move_speed"], state["move_timer"]) - 1,
            **self._ramp(state),
        }
        met = met | met_again
        return after, (met & gold).sum(1), (met & ~gold).any(1)

    def _spawned(self, state: State, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Columns, directions and kinds [N, 8] after a new one came into a random empty row, if it is time for it."""
        right, gold = draws.uniform(1) < 1 / 2, draws.uniform(2) < 1 / 3
        free = state["x"] < 0
        rank = free.cumsum(1)  # of an empty row, from 1
        chosen = draws.integer(3, rank[:, -1]) + 1  # 1, which is no row's rank, if no row is empty
        new = free & (rank == chosen[:, None]) & (state["spawn_timer"] == 0)[:, None]
        x = torch.where(new, torch.where(right, 0, 9)[:, None], state["x"])
        dx = torch.where(new, torch.where(right, 1, -1)[:, None], state["dx"])
        return x, dx, torch.where(new, gold[:, None], state["gold"])

    def _ramp(self, state: State) -> State:
        """How fast the game is after this step."""
        names = ("spawn_speed", "move_speed", "ramp_timer", "ramp_index")
        if not self.ramping:
            return {name: state[name] for name in names}
        spawn, move, timer, index = (state[name] for name in names)
        goes_on = (spawn > 1) | (move > 1)
        faster = goes_on & (timer < 0)
        timer = torch.where(faster, RAMP_INTERVAL, timer - (goes_on & ~faster).long())
        quicker = faster & (index % 2 == 1)
        values = (
            (spawn - faster.long()).clamp(min=1),
            (move - quicker.long()).clamp(min=1),
            timer,
            index + faster,
        )
        return dict(zip(names, values, strict=True))

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.asterix", **self.row_options())

    def observe(self, state: State) -> Tensor:
        x, gold = state["x"], state["gold"].long()
        behind, rows = x - state["dx"], SIDE * self.rows
        player = SIDE * state["player_y"] + state["player_x"]
        cells = torch.stack([x, behind], 1)  # [N, 2, 8]
        cells = torch.where((cells >= 0) & (cells < SIDE), rows + cells, CELLS).flatten(1)
        channels = torch.cat([torch.zeros_like(gold[:, :1]), 1 + 2 * gold, torch.full_like(gold, 2)], 1)
        return self.marked(torch.cat([player[:, None], cells], 1), channels)
