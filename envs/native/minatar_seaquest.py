"""MinAtar's Seaquest on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import State
from gymnast.envs.native.minatar import FIRE, NONE, SIDE, MinAtar, countdown, driven

OXYGEN, CREW, DIVER_INTERVAL, SPAWN_INTERVAL, MOVE_INTERVAL, COOL_DOWN, SHOT_INTERVAL = 200, 6, 30, 20, 5, 5, 10

# Objects that come and go have slots, the newest first, and a new one pushes out the last. Nothing that is still there
# is ever pushed out:
# - A bullet is gone in the 9th step after its shot at the latest, and shots are 5 steps apart: two.
# - A diver leaves the board with its 10th move, 59 steps after it came; they come 30 steps apart: two.
# - An enemy leaves it within 10 * (move_speed + 1) steps. Until the sixth surfacing they come at least 14 steps apart
#   and stay for at most 60: 5 at once. From then on move_speed is 2 and they stay for at most 30 steps, those 5 for at
#   most 33 more. The interval is 14 and shortens by 1 with a surfacing, thus at most every other step: 12 more come in
#   those 33 steps. Later one comes at every step at most: 30.
BULLETS, DIVERS, ENEMIES = 2, 2, 30


class Seaquest(MinAtar):
    """Steer a submarine: shoot fish and submarines, rescue divers, and surface for air.

    ## Description
    MinAtar's Seaquest (Young & Tian 2019), all rows at once. Enemies and divers cross the board in eight rows; enemy
    submarines shoot. Surfacing costs a diver and refills the oxygen. With 6 divers on board it is rewarded and unloads
    all; it costs a diver then too, so that the count is -1, and as in MinAtar a negative count does not forbid to
    surface. With `ramping` each surfacing makes enemies more and faster.

    ## Action Space
    `Discrete(6)`: nothing (0), left (1), up (2), right (3), down (4), fire (5), at most every fifth step. With
    probability `sticky` the last action is repeated.

    ## Observation Space
    `Box(bool, (10, 10, 10))`, channels: front and back of the player, the player's bullets, trail (the cell behind an
    enemy or a diver), enemy bullets, fish, enemy submarines, oxygen, divers on board, divers.

    ## Rewards
    1 for each enemy shot; with 6 divers on board at the surface, 1 for each 20 of the 200 steps of oxygen left.

    ## Starting State
    The player at the surface in column 5, with full oxygen and no other objects; the same in each episode.

    ## Episode End
    Terminated when an enemy or its bullet meets the player, the oxygen is used up, or the player surfaces with no
    diver on board.

    ## Arguments
    * `sticky` (0.1): the probability that the last action is repeated; in MinAtar the first step of an episode may
      repeat the episode before, here it repeats "nothing".
    * `ramping` (True): each surfacing makes the game faster.
    * `full_actions` (False): without effect, all six actions have one.

    ## Version History
    * v1: as MinAtar's v1
    """

    channels = (
        "sub_front",
        "sub_back",
        "friendly_bullet",
        "trail",
        "enemy_bullet",
        "enemy_fish",
        "enemy_sub",
        "oxygen_guage",
        "diver_guage",
        "diver",
    )
    minimal_actions = tuple(range(6))

    def prepare(self) -> None:
        self.age = torch.arange(ENEMIES, device=self.device)

    def begin(self, draws: Draws) -> State:
        zero = torch.zeros_like(draws.bits(0))
        absent = (zero + NONE)[:, None, None]
        return {
            "sub_x": zero + 5,
            "sub_y": zero,
            "sub_or": zero > 0,
            "oxygen": zero + OXYGEN,
            "diver_count": zero.clone(),
            "surface": zero == 0,
            "shot_timer": zero.clone(),
            "e_spawn_speed": zero + SPAWN_INTERVAL,
            "e_spawn_timer": zero + SPAWN_INTERVAL,
            "d_spawn_timer": zero + DIVER_INTERVAL,
            "move_speed": zero + MOVE_INTERVAL,
            "ramp_index": zero.clone(),
            "bullets": pad(absent.repeat(1, BULLETS, 1), (0, 2)),  # x, y, dx
            "divers": pad(absent.repeat(1, DIVERS, 1), (0, 3)),  # x, y, dx, timer
            "enemies": pad(absent.repeat(1, ENEMIES, 1), (0, 5)).to(
                torch.int8
            ),  # x, y, dx, timer, shot timer, submarine
            "e_bullets": torch.zeros(len(zero), 2, SIDE, SIDE, dtype=torch.bool, device=self.device),  # left, right
        }

    def act(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        enemies, divers = self._enemies_come(state, draws), self._divers_come(state, draws)
        dx = self.dx[action]
        x = (state["sub_x"] + dx).clamp(0, 9)
        y = (state["sub_y"] + self.dy[action]).clamp(0, 8)
        right = torch.where(dx == 0, state["sub_or"], dx > 0)
        fires = (action == FIRE) & (state["shot_timer"] == 0)
        bullets = _pushed(state["bullets"], torch.stack([x, y, right * 2 - 1], 1), fires)
        bullets, enemies, reward = self._bullets_move(bullets, enemies)
        divers, count = _divers_move(divers, state["diver_count"], x, y)
        bullets, enemies, shots, struck, met = self._enemies_move(bullets, enemies, state["move_speed"], x, y)
        e_bullets, hit = self._shots_move(state["e_bullets"] | shots, x, y)
        surfaced, bonus, lost = self._surface({**state, "sub_y": y, "diver_count": count})
        after = {
            "sub_x": x,
            "sub_y": y,
            "sub_or": right,
            "shot_timer": countdown(torch.where(fires, COOL_DOWN, state["shot_timer"])),
            "e_spawn_timer": _restarted(state["e_spawn_timer"], state["e_spawn_speed"]),
            "d_spawn_timer": _restarted(state["d_spawn_timer"], DIVER_INTERVAL),
            "bullets": bullets,
            "divers": divers,
            "enemies": enemies.to(torch.int8),
            "e_bullets": e_bullets,
            **surfaced,
        }
        return after, reward + struck + bonus, met | hit | lost

    def _enemies_come(self, state: State, draws: Draws) -> Tensor:
        """Enemies [N, 30, 6] with a new one if it is time, unless one in its row goes the other way."""
        enemies = state["enemies"].long()
        dx = (draws.uniform(1) < 1 / 2) * 2 - 1
        submarine = (draws.uniform(2) < 1 / 3).long()
        y = draws.integer(3, 8) + 1
        there, row, way = enemies[:, :, 0] >= 0, enemies[:, :, 1], enemies[:, :, 2]
        blocked = (there & (row == y[:, None]) & (way != dx[:, None])).any(1)
        new = [_entrance(dx), y, dx, state["move_speed"], submarine * SHOT_INTERVAL, submarine]
        return _pushed(enemies, torch.stack(new, 1), (state["e_spawn_timer"] == 0) & ~blocked)

    def _divers_come(self, state: State, draws: Draws) -> Tensor:
        dx = (draws.uniform(4) < 1 / 2) * 2 - 1
        new = torch.stack([_entrance(dx), draws.integer(5, 8) + 1, dx, torch.full_like(dx, MOVE_INTERVAL)], 1)
        return _pushed(state["divers"], new, state["d_spawn_timer"] == 0)

    def _bullets_move(self, bullets: Tensor, enemies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move the player's bullets, the newest first: each strikes the oldest fish, else submarine, in its cell."""
        x, y, dx = bullets.unbind(2)
        bullets = torch.stack([driven(x, dx, x >= 0), y, dx], 2)
        order = self.age - ENEMIES * enemies[:, :, 5]
        return _strike(bullets, enemies, enemies[:, :, 0] >= 0, order, newest_first=True)

    def _enemies_move(
        self, bullets: Tensor, enemies: Tensor, move_speed: Tensor, player_x: Tensor, player_y: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Move submarines, then fish, the newest first: one that moves into a bullet is struck by the oldest there.

        Bullets, enemies, new shots bool [N, 2, 10, 10], enemies struck [N], whether one meets the player [N].
        """
        x, y, dx, timer, shot_timer, submarine = enemies.unbind(2)
        moves, shoots = timer == 0, (submarine > 0) & (x >= 0) & (shot_timer == 0)
        ahead = driven(x, dx, moves)
        met = ((x == player_x[:, None]) | (ahead == player_x[:, None])) & (y == player_y[:, None])
        timer = torch.where(moves, move_speed[:, None], timer - 1).clamp(min=0)
        shot_timer = torch.where(shoots, SHOT_INTERVAL, shot_timer - 1).clamp(min=0)
        shots = torch.where(shoots & (ahead >= 0), (dx > 0) * 100 + y * SIDE + ahead, 200)  # one struck now shoots too
        enemies = torch.stack([ahead, y, dx, timer, shot_timer, submarine], 2)
        strikes = moves & ~(ahead == player_x[:, None]).logical_and(y == player_y[:, None])
        order = ENEMIES * submarine - self.age
        bullets, enemies, struck = _strike(bullets, enemies, strikes, order, newest_first=False)
        return bullets, enemies, _marked(shots, 200).view(-1, 2, SIDE, SIDE), struck, met.any(1)

    def _shots_move(self, shots: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Enemy bullets, bool [N, 2, 10, 10], a cell on, and whether one met the player before or after that."""
        moved = torch.stack([pad(shots[:, 0, :, 1:], (0, 1)), pad(shots[:, 1, :, :-1], (1, 0))], 1)
        swept = (shots | moved).any(1).flatten(1)
        return moved, swept.gather(1, (SIDE * y + x)[:, None])[:, 0]

    def _surface(self, state: State) -> tuple[State, Tensor, Tensor]:
        """Oxygen, divers on board and difficulty after this step, the reward, and whether the player is lost."""
        oxygen, count, index = state["oxygen"], state["diver_count"], state["ramp_index"]
        spawn, move = state["e_spawn_speed"], state["move_speed"]
        under = state["sub_y"] > 0
        rises = ~under & ~state["surface"]
        surfaces, full = rises & (count != 0), rises & (count == CREW)
        faster = surfaces & ((spawn > 1) | (move > 2)) if self.ramping else torch.zeros_like(under)
        after = {
            "oxygen": torch.where(surfaces, OXYGEN, oxygen - under.long()),
            "diver_count": torch.where(full, 0, count) - surfaces.long(),
            "surface": ~under & (state["surface"] | surfaces),
            "e_spawn_speed": (spawn - faster.long()).clamp(min=1),
            "move_speed": (move - (faster & (index % 2 == 1)).long()).clamp(min=2),
            "ramp_index": index + faster,
        }
        return after, torch.where(full, oxygen * 10 // OXYGEN, 0), (oxygen <= 0) | (rises & (count == 0))

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.seaquest", **self.row_options())

    def observe(self, state: State) -> Tensor:
        enemies = state["enemies"].long()
        others = torch.cat([enemies[:, :, :3], state["divers"][:, :, :3]], 1)  # [N, 32, 3]
        kinds = torch.cat([5 + enemies[:, :, 5], torch.full_like(state["divers"][:, :, 0], 9)], 1)
        x, y, dx = others.unbind(2)
        sub_x, sub_y = state["sub_x"][:, None], state["sub_y"][:, None]
        back = torch.where(state["sub_or"][:, None], sub_x - 1, sub_x + 1)
        spots = [
            _spots(sub_x, sub_y, 0),
            _spots(back, sub_y, 1),
            _spots(state["bullets"][:, :, 0], state["bullets"][:, :, 1], 2),
            _spots(x - dx, y, 3),
            _spots(x, y, kinds),
        ]
        board = _marked(torch.cat(spots, 1), 1000).view(-1, SIDE, SIDE, 10)
        oxygen = self.columns < (state["oxygen"].clamp(min=0) * 10 // OXYGEN)[:, None]
        crew = (self.columns >= 9 - state["diver_count"][:, None]) & (self.columns < 9)
        gauges = pad(torch.stack([oxygen, crew], 2)[:, None], (0, 0, 0, 0, 9, 0))  # in the bottom row
        shots = state["e_bullets"].any(1)[..., None]
        return torch.cat([board[..., :4], shots, board[..., 5:7], gauges, board[..., 9:]], 3)


def _entrance(dx: Tensor) -> Tensor:
    """The column at which those that go in a direction enter."""
    return torch.where(dx > 0, 0, 9)


def _restarted(timer: Tensor, interval: Tensor | int) -> Tensor:
    """A timer one step later, restarting at 0."""
    return countdown(torch.where(timer == 0, interval, timer))


def _pushed(pool: Tensor, new: Tensor, rows: Tensor) -> Tensor:
    """Slots [N, K, D] with a new object [N, D] in front in some rows, bool [N]."""
    return torch.where(rows[:, None, None], torch.cat([new[:, None], pool[:, :-1]], 1), pool)


def _spots(x: Tensor, y: Tensor, channel: Tensor | int) -> Tensor:
    """Places in the observation, int64 [N, K], objects off the board past its end."""
    return torch.where((x >= 0) & (x < SIDE), (SIDE * y + x) * 10 + channel, 1000)


def _marked(places: Tensor, size: int) -> Tensor:
    """Bool [N, size], true at some places [N, K]; `size` marks none."""
    board = torch.zeros(len(places), size + 1, dtype=torch.bool, device=places.device)
    return board.scatter(1, places, True)[:, :size]


def _divers_move(divers: Tensor, count: Tensor, player_x: Tensor, player_y: Tensor) -> tuple[Tensor, Tensor]:
    """Move the divers, the newest first, and take those on board that meet the player while there is room."""
    x, y, dx, timer = divers.unbind(2)
    moves = timer == 0
    ahead = driven(x, dx, moves)
    met = ((x == player_x[:, None]) | (ahead == player_x[:, None])) & (y == player_y[:, None])
    taken = met & (count[:, None] + met.cumsum(1) <= CREW)
    timer = torch.where(moves, MOVE_INTERVAL, timer - 1).clamp(min=0)
    return torch.stack([torch.where(taken, NONE, ahead), y, dx, timer], 2), count + taken.sum(1)


def _strike(
    bullets: Tensor, enemies: Tensor, candidates: Tensor, order: Tensor, *, newest_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Let each bullet take the candidate (bool [N, 30]) of highest order in its cell, one bullet after the other.

    Bullets and enemies without those that struck and were struck, and their number, int64 [N].
    """
    same = (bullets[:, :, None, :2] == enemies[:, None, :, :2]).all(3) & (bullets[:, :, None, 0] >= 0)
    left, struck = candidates, {}
    for slot in (0, 1) if newest_first else (1, 0):
        here = same[:, slot] & left
        best = torch.where(here, order, -2 * ENEMIES).amax(1, keepdim=True)
        struck[slot] = here & (order == best)
        left = left & ~struck[slot]
    spent = torch.stack([struck[0].any(1), struck[1].any(1)], 1)
    bullets = torch.cat([torch.where(spent, NONE, bullets[:, :, 0])[:, :, None], bullets[:, :, 1:]], 2)
    fallen = struck[0] | struck[1]
    enemies = torch.cat([torch.where(fallen, NONE, enemies[:, :, 0])[:, :, None], enemies[:, :, 1:]], 2)
    return bullets, enemies, spent.sum(1)
