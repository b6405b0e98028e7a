"""MinAtar's Space Invaders on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import State
from gymnast.envs.native.minatar import FIRE, LEFT, NOTHING, RIGHT, SIDE, MinAtar, countdown

COOL_DOWN, MOVE_INTERVAL, SHOT_INTERVAL, FASTEST = 5, 12, 10, 6


class SpaceInvaders(MinAtar):
    """Shoot a block of aliens that comes down and shoots back.

    ## Description
    MinAtar's Space Invaders (Young & Tian 2019), all rows at once. The aliens move sideways together, and down by a row
    where one of them is at the edge; the fewer they are, the faster. The one that is nearest to the cannon's column
    shoots. Once all are shot, the next wave comes, by one step faster with `ramping`.

    ## Action Space
    `Discrete(4)`: nothing (0), left (1), right (2), fire (3), at most every fifth step; with `full_actions` MinAtar's
    six: nothing, left, up, right, down, fire. With probability `sticky` the last action is repeated.

    ## Observation Space
    `Box(bool, (10, 10, 6))`, channels: cannon, aliens, aliens that move left, aliens that move right, the player's
    bullets, the aliens' bullets.

    ## Rewards
    1 for each alien.

    ## Starting State
    24 aliens that move left, the cannon in column 5; the same in each episode.

    ## Episode End
    Terminated when an alien or a bullet hits the cannon, or the aliens would move down from the bottom row.

    ## Arguments
    * `sticky` (0.1): the probability that the last action is repeated; in MinAtar the first step of an episode may
      repeat the episode before, here it repeats "nothing".
    * `ramping` (True): each wave moves faster than the last, down to 6 steps for a move.
    * `full_actions` (False): all six actions.

    ## Version History
    * v1: as MinAtar's v1
    """

    channels = ("cannon", "alien", "alien_left", "alien_right", "friendly_bullet", "enemy_bullet")
    minimal_actions = (NOTHING, LEFT, RIGHT, FIRE)

    def prepare(self) -> None:
        row, column = self.cells // SIDE, self.cells % SIDE
        self.wave = (row < 4) & (column >= 2) & (column < 8)
        away = column - self.columns[:, None]  # [10, 100], by the cannon's column
        self.rank = (away.abs() * 20 + (away > 0) * 10 + 9 - row).to(torch.int32)
        """Which alien shoots: the lowest of the nearest column, the left one of two; each cell has a number of its
        own."""

    def begin(self, draws: Draws) -> State:
        zero = torch.zeros_like(draws.bits(0))
        bullets = torch.zeros_like(self.wave).repeat(len(zero), 1)
        return {
            "pos": zero + 5,
            "f_bullet_map": bullets,
            "e_bullet_map": bullets.clone(),
            "alien_map": self.wave.repeat(len(zero), 1),
            "alien_dir": zero - 1,
            "enemy_move_interval": zero + MOVE_INTERVAL,
            "alien_move_timer": zero + MOVE_INTERVAL,
            "alien_shot_timer": zero + SHOT_INTERVAL,
            "shot_timer": zero,
        }

    def act(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        pos = (state["pos"] + self.dx[action]).clamp(0, 9)
        fires = (action == FIRE) & (state["shot_timer"] == 0)
        column = self.columns == pos[:, None]
        bullets = pad(torch.cat([state["f_bullet_map"][:, SIDE:-SIDE], column & fires[:, None]], 1), (0, SIDE))
        shots = pad(state["e_bullet_map"][:, :-SIDE], (SIDE, 0))
        aliens, direction, timer, landed = self._march(state)
        danger = shots | state["alien_map"] | aliens  # the cannon is hit before and after they move
        hit = (danger[:, -SIDE:] & column).any(1)
        shoots = state["alien_shot_timer"] == 0
        shooter = torch.where(aliens, self.rank[pos], 1000).argmin(1)
        shots = shots | ((self.cells == shooter[:, None]) & shoots[:, None])
        killed = aliens & bullets
        aliens = aliens & ~killed
        cleared = ~aliens.any(1)
        interval = state["enemy_move_interval"]
        after = {
            "pos": pos,
            "f_bullet_map": bullets & ~killed,
            "e_bullet_map": shots,
            "alien_map": aliens | (cleared[:, None] & self.wave),
            "alien_dir": direction,
            "enemy_move_interval": (interval - cleared.long()).clamp(min=FASTEST) if self.ramping else interval,
            "alien_move_timer": timer - 1,
            "alien_shot_timer": torch.where(shoots, SHOT_INTERVAL, state["alien_shot_timer"]) - 1,
            "shot_timer": countdown(torch.where(fires, COOL_DOWN, state["shot_timer"])),
        }
        return after, killed.sum(1), hit | landed

    def _march(self, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Aliens, their direction and timer after a move if it is time for one, and whether they landed."""
        aliens, left = state["alien_map"], state["alien_dir"] < 0
        moves = state["alien_move_timer"] == 0
        timer = torch.where(
            moves, torch.minimum(aliens.sum(1), state["enemy_move_interval"]), state["alien_move_timer"]
        )
        at_edge = torch.where(left, aliens[:, ::SIDE].any(1), aliens[:, SIDE - 1 :: SIDE].any(1))
        # Sideways the column at the edge is empty, so rolling the whole board carries nothing to another row.
        aside = torch.where(left[:, None], aliens.roll(-1, 1), aliens.roll(1, 1))
        moved = torch.where(at_edge[:, None], aliens.roll(SIDE, 1), aside)
        turns = moves & at_edge
        direction = torch.where(turns, -state["alien_dir"], state["alien_dir"])
        landed = turns & aliens[:, -SIDE:].any(1)
        return torch.where(moves[:, None], moved, aliens), direction, timer, landed

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.space_invaders", **self.row_options())

    def observe(self, state: State) -> Tensor:
        aliens, left = state["alien_map"], (state["alien_dir"] < 0)[:, None]
        cannon = self.cells == state["pos"][:, None] + 9 * SIDE
        boards = [cannon, aliens, aliens & left, aliens & ~left, state["f_bullet_map"], state["e_bullet_map"]]
        return torch.stack(boards, 2).view(-1, SIDE, SIDE, len(boards))
