"""The objects of MinAtar's Seaquest: slots of the state, the newest first, as many as are ever on the board at once.

A slot is empty while its column is NONE; its other numbers stay, and its timers run on, unused.
"""

from __future__ import annotations

from typing import Any

from gymnast.envs.kernels.draws import integer, rule, uniform
from gymnast.envs.kernels.minatar import NONE, SIDE, driven

BULLETS, DIVERS, ENEMIES = 2, 2, 30
"""See `gymnast.envs.native.minatar_seaquest`."""
CREW, DIVER_INTERVAL, MOVE_INTERVAL, SHOT_INTERVAL = 6, 30, 5, 10
X, Y, WAY, TIMER, SHOT_TIMER, SUBMARINE = range(6)
"""Of an enemy; a diver has the first four, a bullet the first three."""


@rule
def enemy_comes(state: Any, draws: Any) -> None:
    """Let an enemy in, unless one in its row goes the other way."""
    enemies, way, y = state.enemies, 1 if uniform(draws, 1) < 1 / 2 else -1, integer(draws, 3, 8) + 1
    submarine = uniform(draws, 2) < 1 / 3
    for slot in range(ENEMIES):
        if enemies[slot, X] >= 0 and enemies[slot, Y] == y and enemies[slot, WAY] != way:
            return
    push(enemies, 0 if way > 0 else 9, y, way)
    enemies[0, TIMER] = state.move_speed
    enemies[0, SHOT_TIMER], enemies[0, SUBMARINE] = (SHOT_INTERVAL, 1) if submarine else (0, 0)


@rule
def diver_comes(state: Any, draws: Any) -> None:
    """Let a diver in."""
    way = 1 if uniform(draws, 4) < 1 / 2 else -1
    push(state.divers, 0 if way > 0 else 9, integer(draws, 5, 8) + 1, way)
    state.divers[0, TIMER] = MOVE_INTERVAL


@rule
def fire(state: Any) -> None:
    """A new bullet of the player."""
    push(state.bullets, state.sub_x, state.sub_y, 1 if state.sub_or else -1)


@rule
def push(pool: Any, x: int, y: int, way: int) -> None:
    """Put a new object into the first slot; the last one is lost."""
    for slot in range(len(pool) - 1, 0, -1):
        for number in range(pool.shape[1]):
            pool[slot, number] = pool[slot - 1, number]
    pool[0, X], pool[0, Y], pool[0, WAY] = x, y, way


@rule
def empty(pool: Any) -> None:
    """No object in any slot."""
    pool[:] = 0
    pool[:, X] = NONE


@rule
def bullets_move(state: Any) -> int:
    """Move the player's bullets, the newest first: each strikes the oldest fish, else submarine, in its cell.

    How many were struck.
    """
    struck = 0
    for bullet in state.bullets:
        if bullet[X] >= 0:
            bullet[X] = driven(bullet[X], bullet[WAY])
            slot = target(state.enemies, bullet)
            if slot >= 0:
                state.enemies[slot, X] = bullet[X] = NONE
                struck += 1
    return struck


@rule
def target(enemies: Any, bullet: Any) -> int:
    """The slot of the oldest fish, else submarine, in a bullet's cell; -1 for none."""
    for submarine in (0, 1):
        for slot in range(ENEMIES - 1, -1, -1):
            if share(bullet, enemies[slot]) and enemies[slot, SUBMARINE] == submarine:
                return slot
    return -1


@rule
def divers_move(state: Any) -> None:
    """Move the divers, the newest first, and take those on board that meet the player while there is room."""
    for diver in state.divers:
        met, moves = meets(state, diver), diver[TIMER] == 0
        diver[TIMER] = MOVE_INTERVAL if moves else diver[TIMER] - 1
        if moves and diver[X] >= 0:
            diver[X] = driven(diver[X], diver[WAY])
        if (met or meets(state, diver)) and state.diver_count < CREW:
            diver[X] = NONE
            state.diver_count += 1


@rule
def enemies_move(state: Any) -> bool:
    """Move the enemies and let submarines shoot; whether one met the player, before or after that."""
    met, enemies, interval = False, state.enemies, state.move_speed
    for slot in range(ENEMIES):
        moves, loaded = enemies[slot, TIMER] == 0, enemies[slot, SHOT_TIMER] == 0
        enemies[slot, TIMER] = interval if moves else enemies[slot, TIMER] - 1
        enemies[slot, SHOT_TIMER] -= not loaded
        if enemies[slot, X] >= 0:
            met = enemy_moves(state, enemies[slot], moves, loaded) or met
    return met


@rule
def enemy_moves(state: Any, enemy: Any, moves: bool, loaded: bool) -> bool:
    """The part of one enemy."""
    met = meets(state, enemy)
    if moves:
        enemy[X] = driven(enemy[X], enemy[WAY])
        met = met or meets(state, enemy)
    if loaded and enemy[SUBMARINE] != 0:
        enemy[SHOT_TIMER] = SHOT_INTERVAL
        if enemy[X] >= 0:
            state.e_bullets[1 if enemy[WAY] > 0 else 0, enemy[Y], enemy[X]] = True
    return met


@rule
def enemies_struck(state: Any) -> int:
    """Let those that moved into a bullet be struck, submarines before fish, the newest first; how many.

    Who did not move is in no bullet's cell: each bullet that came struck whom it met.
    """
    struck, bullets = 0, state.bullets
    if bullets[0, X] < 0 and bullets[1, X] < 0:
        return struck
    for submarine in (1, 0):
        for enemy in state.enemies:
            if enemy[X] >= 0 and enemy[SUBMARINE] == submarine and not meets(state, enemy):
                for slot in (1, 0):  # the older bullet first
                    if share(enemy, bullets[slot]):
                        bullets[slot, X] = enemy[X] = NONE
                        struck += 1
    return struck


@rule
def share(one: Any, other: Any) -> bool:
    """Whether two objects are there and in the same cell."""
    return bool(one[X] >= 0 and one[X] == other[X] and one[Y] == other[Y])


@rule
def meets(state: Any, one: Any) -> bool:
    """Whether an object is where the player is."""
    return bool(one[X] == state.sub_x and one[Y] == state.sub_y)


@rule
def shots_move(state: Any) -> bool:
    """Move the enemies' bullets; whether one met the player before or after that."""
    if not shots_fly(state):
        return False
    left, right, x, y = state.e_bullets[0], state.e_bullets[1], state.sub_x, state.sub_y
    hit = (left[y, x] | right[y, x]) != 0
    for row in range(SIDE):
        for column in range(SIDE - 1):
            left[row, column] = left[row, column + 1]
            right[row, SIDE - 1 - column] = right[row, SIDE - 2 - column]
        left[row, SIDE - 1] = right[row, 0] = False
    return bool(hit or (left[y, x] | right[y, x]) != 0)


@rule
def shots_fly(state: Any) -> bool:
    """Whether there is a bullet of an enemy."""
    cells, found = state.e_bullets.reshape(2 * SIDE * SIDE), 0
    for cell in range(2 * SIDE * SIDE):
        found |= cells[cell]
    return found != 0
