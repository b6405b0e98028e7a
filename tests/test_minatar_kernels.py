"""MinAtar's rules of one row and of tensors are the same in states that random play seldom reaches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gymnast.envs.native.game import State
from gymnast.envs.native.minatar import NONE
from tests.test_kernels import engines, tensors

ROWS, ROUNDS = 50, 20


class Scatter:
    """Random tensors with a leading axis of `ROWS`."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def numbers(self, low: int, high: int, *shape: int) -> Tensor:
        """From low to high - 1, int64."""
        return torch.randint(low, high, (ROWS, *shape), generator=self.generator)

    def flags(self, probability: float, *shape: int) -> Tensor:
        return torch.rand(ROWS, *shape, generator=self.generator) < probability

    def ways(self, *shape: int) -> Tensor:
        """-1 or 1."""
        return 2 * self.numbers(0, 2, *shape) - 1


def asterix(some: Scatter) -> State:
    """Objects around the player, rows that are full, and the last steps of the ramp."""
    x = some.numbers(0, 10, 8)
    return {
        "x": torch.where(some.flags(0.3, 1) & some.flags(0.5, 8), NONE, x),
        "dx": some.ways(8),
        "gold": some.flags(0.5, 8),
        "player_x": some.numbers(0, 10),
        "player_y": some.numbers(1, 9),
        "spawn_speed": some.numbers(1, 3),
        "spawn_timer": some.numbers(0, 2),
        "move_speed": some.numbers(1, 3),
        "move_timer": some.numbers(0, 2),
        "ramp_timer": some.numbers(-1, 1),
        "ramp_index": some.numbers(0, 2),
    }


def freeway(some: Scatter) -> State:
    """A chicken near the top that may move, with cars beside it, at the end of its time."""
    return {
        "pos": some.numbers(1, 4),
        "move_timer": some.numbers(0, 2),
        "terminate_timer": some.numbers(0, 3),
        "car_x": some.numbers(2, 7, 8) * some.numbers(0, 2, 8),
        "car_timer": some.numbers(0, 2, 8),
        "car_speed": some.numbers(1, 6, 8) * some.ways(8),
    }


def space_invaders(some: Scatter) -> State:
    """Aliens anywhere, the last row included, and bullets between them."""
    aliens = some.flags(0.5, 1) & some.flags(0.2, 100) & some.flags(0.8, 1, 10).repeat(1, 10, 1).flatten(1)
    aliens[:, 44] |= ~aliens.any(1)
    bullets = some.flags(0.2, 100)
    bullets[:, 90:] = False
    return {
        "alien_map": aliens,
        "f_bullet_map": bullets,
        "e_bullet_map": some.flags(0.05, 100),
        "pos": some.numbers(0, 10),
        "alien_dir": some.ways(),
        "enemy_move_interval": some.numbers(6, 13),
        "alien_move_timer": some.numbers(0, 2),
        "alien_shot_timer": some.numbers(0, 2),
        "shot_timer": some.numbers(0, 2),
    }


def seaquest(some: Scatter) -> State:
    """Many objects in few cells, most about to move, and a player who surfaces."""

    def objects(slots: int, *below: int) -> Tensor:
        rest = [some.numbers(0, high, slots) for high in below]
        return torch.stack([some.numbers(0, 4, slots), some.numbers(1, 3, slots), some.ways(slots), *rest], 2)

    enemies = objects(30, 2, 2, 2)
    enemies[:, :, 4] *= enemies[:, :, 5]  # a fish has no shot timer
    enemies[:, 12:, 0] = NONE
    return {
        "bullets": objects(2),
        "divers": objects(2, 2),
        "enemies": enemies.to(torch.int8),
        "e_bullets": some.flags(0.05, 2, 10, 10),
        "sub_x": some.numbers(1, 4),
        "sub_y": some.numbers(0, 4),
        "sub_or": some.flags(0.5),
        "surface": some.flags(0.2),
        "diver_count": some.numbers(-1, 7),
        "oxygen": some.numbers(0, 201),
        "move_speed": some.numbers(2, 4),
        "e_spawn_speed": some.numbers(1, 3),
        "e_spawn_timer": some.numbers(0, 2),
        "d_spawn_timer": some.numbers(0, 2),
        "shot_timer": some.numbers(0, 2),
        "ramp_index": some.numbers(0, 2),
    }


SCATTERED = {"Asterix": asterix, "Freeway": freeway, "SpaceInvaders": space_invaders, "Seaquest": seaquest}


@pytest.mark.parametrize(("name", "scattered"), SCATTERED.items(), ids=list(SCATTERED))
def test_both_forms_are_one_from_any_state(name: str, scattered: Callable[[Scatter], State]) -> None:
    some, rewards, ends = Scatter(), 0.0, 0
    row, tensor, env = engines(f"gymnast/MinAtar-{name}-v1", ROWS, full_actions=True)
    for _ in range(ROUNDS):
        world = tensor.world
        world = world._replace(state=world.state | scattered(some))
        for engine in (row, tensor):
            engine.load(world)
        for action in some.numbers(0, int(env.single_action_space.n), 2).unbind(1):  # type: ignore[attr-defined]
            one = tensors(row, row.advance(action, None, None))
            two = tensors(tensor, moved := tensor.advance(action, None, None))
            assert all(torch.equal(one[field], value) for field, value in two.items())
            assert row.final is not None
            assert tensor.final is not None
            for field, value in tensor.final[1].items():
                assert torch.equal(row.final[1][field][moved.ended], value[moved.ended]), field
            rewards, ends = rewards + float(moved.reward.sum()), ends + int(moved.ended.sum())
    assert rewards > 40
    assert ends > 40
