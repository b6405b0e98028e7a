"""Device-native MinAtar is MinAtar: states, observations, rewards and ends, given the same random numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from minatar.gym import BaseEnv
from torch import Tensor

from gymnast.envs import make
from gymnast.envs.native.draws import Draws, row_keys
from gymnast.envs.native.minatar import DOWN, FIRE, LEFT, NOTHING, PALETTE, RIGHT, UP
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.registration import NATIVE, NATIVE_OF
from tests.conformance import check_env
from tests.minatar_pairs import CASES, CPU, Case, Pairs

ROWS, STEPS = 50, 200
BY_NAME = {case.name: case for case in CASES}
cases = pytest.mark.parametrize("case", CASES, ids=list(BY_NAME))


class Fixed(Draws):
    """Chosen numbers by their index, the others random."""

    def __init__(self, uniform: dict[int, float], integer: dict[int, int]) -> None:
        key = row_keys(0, 1, device=CPU)
        super().__init__(key, key)
        self.chosen, self.integers = uniform, integer

    def uniform(self, index: int) -> Tensor:
        return torch.tensor([self.chosen[index]]) if index in self.chosen else super().uniform(index)

    def integer(self, index: int, below: int | Tensor) -> Tensor:
        return torch.tensor([self.integers[index]]) if index in self.integers else super().integer(index, below)


def one(name: str, *, ramping: bool = True) -> Pairs:
    """A single row of all six actions."""
    return Pairs(BY_NAME[name], 1, ramping=ramping, full=True)


def act(pairs: Pairs, *actions: int, draws: Draws | None = None) -> list[tuple[float, bool]]:
    """Rewards and ends of a single row's actions."""
    steps = [pairs.step(torch.tensor([action]), draws) for action in actions]
    return [(float(reward), bool(ended)) for reward, ended in steps]


def check_parity(case: Case, steps: int, **options: Any) -> tuple[int, float]:
    """Random play; how many episodes ended and the sum of rewards."""
    pairs, generator = Pairs(case, ROWS, vary=True, **options), torch.Generator().manual_seed(0)
    action, ends, rewards = torch.zeros(ROWS, dtype=torch.int64), 0, 0.0
    immortal = (torch.arange(ROWS) % 3 == 0) & case.immortal
    for _ in range(steps):
        new = torch.randint(int(pairs.game.action_space.n), (ROWS,), generator=generator)  # type: ignore[attr-defined]
        action = torch.where(torch.rand(ROWS, generator=generator) < 0.6, new, action)  # runs reach more than jitter
        before, copies = pairs.state, {name: value.clone() for name, value in pairs.state.items()}
        reward, terminated = pairs.step(action)
        assert all(torch.equal(before[name], copies[name]) for name in before)
        assert all(pairs.state[name].dtype == before[name].dtype for name in before)
        for row in (terminated & immortal).nonzero().flatten().tolist():
            pairs.envs[row].game.env.terminal = False
        pairs.begin(terminated & ~immortal)
        ends, rewards = ends + int(terminated.sum()), rewards + float(reward.sum())
    return ends, rewards


@cases
def test_parity(case: Case) -> None:
    ends, rewards = check_parity(case, STEPS, sticky=0.1)
    assert ends > 0
    assert rewards > 0


@cases
def test_parity_of_all_actions_without_ramp(case: Case) -> None:
    check_parity(case, STEPS // 5, sticky=0.5, ramping=False, full=True)


def test_breakout_builds_a_cleared_wall_again() -> None:
    pairs = one("Breakout")
    pairs.only.brick_map[:] = 0
    pairs.state["brick_map"] = torch.zeros(1, 100, dtype=torch.bool)
    away = 6 if pairs.only.ball_x == 0 else 3  # the column in which the ball comes down
    pairs.only.pos, pairs.state["pos"] = away, torch.tensor([away])
    for row in range(4, 9):
        act(pairs, NOTHING)
        assert pairs.state["ball_y"].tolist() == [row]
        assert not pairs.state["brick_map"].any()
    for _ in range(30):
        ball, pos = int(pairs.state["ball_x"] + pairs.state["dx"]), int(pairs.state["pos"])
        act(pairs, RIGHT if ball > pos else LEFT if ball < pos else NOTHING)
    assert 20 < int(pairs.state["brick_map"].sum()) < 30


def test_breakout_parity_while_the_ball_is_kept() -> None:
    pairs, generator, broken = Pairs(BY_NAME["Breakout"], 20, full=True), torch.Generator().manual_seed(0), 0.0
    for step in range(300):
        if step % 50 == 25:  # bricks in which the ball breaks one and goes through the next
            some = (torch.rand(20, 10, 10, generator=generator) < 0.5) & pairs.game.wall.view(10, 10)
            pairs.state["brick_map"] = some.flatten(1)
            for row, env in enumerate(pairs.envs):
                env.game.env.brick_map = some[row].numpy().astype(float)
        gap = pairs.state["ball_x"] - pairs.state["pos"]
        follow = torch.where(gap > 0, RIGHT, torch.where(gap < 0, LEFT, NOTHING))
        idle = torch.rand(20, generator=generator) < 0.02
        reward, terminated = pairs.step(torch.where(idle, NOTHING, follow))
        pairs.begin(terminated)
        broken += float(reward.sum())
    assert broken > 200


def test_freeway_pays_at_the_top_and_renews_the_traffic() -> None:
    pairs = one("Freeway")
    pairs.only.pos, pairs.state["pos"] = 1, torch.tensor([1])
    before = pairs.state["car_speed"]
    assert act(pairs, UP, UP, UP, UP) == [(0, False), (0, False), (0, False), (1, False)]
    assert pairs.state["pos"].tolist() == [9]
    assert not torch.equal(pairs.state["car_speed"], before)
    pairs.only.terminate_timer, pairs.state["terminate_timer"] = 1, torch.tensor([1])
    assert act(pairs, UP, UP) == [(0, False), (0, True)]


@pytest.mark.parametrize("ramping", [True, False])
def test_space_invaders_speed_up(ramping: bool) -> None:
    pairs = one("SpaceInvaders", ramping=ramping)
    for wave in range(1, 9):
        alone = torch.zeros(1, 100, dtype=torch.bool)
        alone[0, 4] = True
        pairs.state["alien_map"], pairs.only.alien_map = alone, alone.view(10, 10).numpy().astype(float)
        pairs.state["alien_move_timer"], pairs.only.alien_move_timer = torch.tensor([0]), 0
        columns = []
        for _ in range(3):
            act(pairs, NOTHING)
            columns.append(int(pairs.state["alien_map"].nonzero()[0, 1]))
        assert len(set(columns)) == 3  # the last one moves at each step
        bullet = torch.zeros(1, 100, dtype=torch.bool)
        bullet[0, columns[-1] + int(pairs.state["alien_dir"]) + 10] = True
        pairs.state["f_bullet_map"], pairs.only.f_bullet_map = bullet, bullet.view(10, 10).numpy().astype(float)
        assert act(pairs, NOTHING)[0][0] == 1
        assert int(pairs.state["alien_map"].sum()) == 24
        assert pairs.state["enemy_move_interval"].tolist() == [max(12 - wave, 6) if ramping else 12]


def test_asterix_takes_gold_and_fears_enemies() -> None:
    for gold, expected in ((0.1, (1.0, False)), (0.9, (0.0, True))):
        pairs = one("Asterix")
        pairs.only.spawn_timer, pairs.state["spawn_timer"] = 0, torch.tensor([0])
        pairs.only.player_x, pairs.state["player_x"] = 1, torch.tensor([1])
        come = Fixed({1: 0.1, 2: gold}, {3: 4})  # from the left into row 5
        assert act(pairs, NOTHING, draws=come) == [(0, False)]
        assert act(pairs, LEFT) == [expected]
        assert bool((pairs.state["x"] < 0).all()) == (gold < 1 / 3)


def test_seaquest_rewards_six_divers_and_then_forgives_one_too_few() -> None:
    pairs = one("Seaquest")
    pairs.only.diver_count, pairs.state["diver_count"] = 6, torch.tensor([6])
    pairs.only.oxygen, pairs.state["oxygen"] = 160, torch.tensor([160])
    assert act(pairs, DOWN, UP) == [(0, False), (7, False)]  # 159 of 200 steps left
    assert pairs.state["oxygen"].tolist() == [200]
    assert pairs.state["diver_count"].tolist() == [-1]
    assert act(pairs, DOWN, UP) == [(0, False), (0, False)]
    assert pairs.state["diver_count"].tolist() == [-2]
    assert pairs.state["e_spawn_speed"].tolist() == [18]
    assert pairs.state["move_speed"].tolist() == [4]
    pairs.only.diver_count, pairs.state["diver_count"] = 0, torch.tensor([0])
    assert act(pairs, DOWN, UP) == [(0, False), (0, True)]


def test_seaquest_drowns_without_oxygen() -> None:
    pairs = one("Seaquest")
    pairs.only.oxygen, pairs.state["oxygen"] = 1, torch.tensor([1])
    assert act(pairs, DOWN, DOWN) == [(0, False), (0, True)]


def test_seaquest_has_room_for_thirty_enemies() -> None:
    """The fastest way there, by surfacing at every other step, and as many as come at every step."""
    pairs, most = one("Seaquest"), 0
    pairs.only.diver_count, pairs.state["diver_count"] = -1, torch.tensor([-1])
    for step in range(120):
        lane = Fixed({0: 0.5, 1: 0.1, 2: 0.1 if step % 3 else 0.9, 4: 0.9}, {3: 6, 5: 5})
        act(pairs, UP if step % 2 else DOWN, draws=lane)
        pairs.only.terminal = False
        most = max(most, int((pairs.state["enemies"][:, :, 0] >= 0).sum()))
    assert most in (29, 30)


def test_seaquest_strikes_in_the_order_of_the_lists() -> None:
    """Enemies of all ages in one lane, faster than they are shot, and bullets from both sides of them."""
    pairs, struck = one("Seaquest"), 0.0
    for name, value in {"e_spawn_speed": 1, "e_spawn_timer": 0, "move_speed": 2, "sub_y": 4, "oxygen": 100_000}.items():
        setattr(pairs.only, name, value)
        pairs.state[name] = torch.tensor([value])
    kinds, moves = np.random.default_rng(0), (LEFT, RIGHT, FIRE, FIRE, FIRE)
    for step in range(300):
        lane = Fixed({0: 0.5, 1: 0.1 if step // 60 % 2 else 0.9, 2: kinds.random()}, {3: 3})
        struck += act(pairs, moves[kinds.integers(5)], draws=lane)[0][0]
        pairs.only.terminal = False
    assert struck > 20


def crowd(pairs: Pairs, row: int, rng: np.random.Generator) -> None:
    """Many objects of Seaquest in few cells, most about to move, in a row of ours and in its reference."""

    def some(count: int, *last: int) -> np.ndarray:
        """x, y, dx and a number below each of `last`; [count, 3 + len(last)]."""
        columns = rng.integers(0, (4, 2, 2, *last), (count, 3 + len(last)))
        return columns * ([1, 1, 2] + [1] * len(last)) + ([6 * (row % 2), 3, -1] + [0] * len(last))

    rules, state = pairs.envs[row].game.env, pairs.state
    bullets, divers, enemies = some(2), some(2, 2), some(12, 2, 2, 2)
    enemies[:, 4] *= enemies[:, 5]  # a fish has no shot timer
    shots = some(3)
    for name, pool in (("bullets", bullets), ("divers", divers), ("enemies", enemies)):
        state[name][row, : len(pool)] = torch.from_numpy(pool).to(state[name].dtype)
    state["e_bullets"][row] = False
    state["e_bullets"][row, (shots[:, 2] > 0).astype(int), shots[:, 1], shots[:, 0]] = True
    rules.f_bullets, rules.divers, everyone, rules.e_bullets = (
        [[x, y, way > 0, *rest] for x, y, way, *rest in pool[::-1].tolist()]
        for pool in (bullets, divers, enemies, shots)
    )
    rules.e_fish, rules.e_subs = [it[:4] for it in everyone if not it[5]], [it[:5] for it in everyone if it[5]]
    x, y, _ = some(1)[0].tolist()
    values = {
        "sub_x": x,
        "sub_y": y,
        "sub_or": x > 0,
        "diver_count": int(rng.integers(4, 7)),
        "shot_timer": 1,
        "d_spawn_timer": 1,
    }
    for name, value in values.items():
        state[name][row] = value
        setattr(rules, name, value)
    rules.terminal = False


def test_seaquest_parity_in_a_crowd() -> None:
    """Who meets whom first, from states that play does not reach."""
    pairs, rng, struck = Pairs(BY_NAME["Seaquest"], ROWS), np.random.default_rng(0), 0.0
    for _ in range(20):
        pairs.state = {name: value.clone() for name, value in pairs.state.items()}
        for row in range(ROWS):
            crowd(pairs, row, rng)
        struck += float(pairs.step(torch.from_numpy(rng.integers(6, size=ROWS)))[0].sum())
    assert struck > 500


@cases
def test_ids_and_spaces(case: Case) -> None:
    assert NATIVE_OF[f"MinAtar/{case.name}-v1"] == f"gymnast/MinAtar-{case.name}-v1"
    assert NATIVE[f"gymnast/MinAtar-{case.name}-v1"][1] is None
    for full in (False, True):
        env = BaseEnv(case.game, use_minimal_action_set=not full)
        game = case.rules(device=CPU, full_actions=full)
        assert game.observation_space == env.observation_space
        assert game.action_space == env.action_space
        assert game.observation_space.dtype == bool


@cases
def test_full_actions_do_what_the_minimal_ones_do(case: Case) -> None:
    minimal, full = (case.rules(device=CPU, full_actions=flag) for flag in (False, True))
    keys = row_keys(1, 6, device=CPU)
    state = minimal.initial(Draws(keys, torch.zeros_like(keys)))
    for step in range(1, 5):
        draws, action = (
            Draws(keys, torch.full_like(keys, step)),
            (torch.arange(6) + step) % len(case.rules.minimal_actions),
        )
        left = minimal.step(state, action, draws)
        right = full.step(state, torch.tensor(case.rules.minimal_actions)[action], draws)
        assert all(torch.equal(left[0][name], right[0][name]) for name in state)
        assert torch.equal(left[1], right[1])
        state = left[0]


@cases
def test_first_states_are_distributed_alike(case: Case) -> None:
    """Chi-square over the kinds of first observations; of cars, each lane's: 8 lanes of 10 kinds."""
    rows = 2000
    keys, env = row_keys(3, rows, device=CPU), BaseEnv(case.game)
    game = case.rules(device=CPU)
    ours = game.observe(game.initial(Draws(keys, torch.zeros_like(keys)))).numpy()
    theirs = np.stack([env.reset(seed=3 if row == 0 else None)[0] for row in range(rows)])
    parts = [range(lane, lane + 1) for lane in range(10)] if case.name == "Freeway" else [range(10)]
    for part in parts:
        left, right = (Counter(obs[list(part)].tobytes() for obs in many) for many in (ours, theirs))
        kinds = left.keys() | right.keys()
        statistic = sum((left[kind] - right[kind]) ** 2 / (left[kind] + right[kind]) for kind in kinds)
        freedom = len(kinds) - 1
        assert freedom == {"Breakout": 1, "Freeway": 9 * (0 < part[0] < 9)}.get(case.name, 0)
        assert statistic <= freedom + 4 * (2 * freedom) ** 0.5


@cases
def test_conformance(case: Case) -> None:
    check_env(make(f"gymnast/MinAtar-{case.name}-v1", 3))


@cases
def test_pictures_show_the_last_channel_of_each_cell(case: Case) -> None:
    env = NativeVectorEnv(case.rules, 2, render_mode="rgb_array")
    env.reset(seed=0)
    for step in range(30):
        env.step(torch.tensor([step % 3, 1]))
    picture, obs = env.picture(0), env.observe()[0][0].numpy()
    assert picture.shape == (160, 160, 3)
    assert picture.dtype == np.uint8
    for y, x in np.ndindex(10, 10):
        colour = PALETTE[max((channel + 1 for channel in obs[y, x].nonzero()[0]), default=0)]
        assert (picture[16 * y : 16 * y + 16, 16 * x : 16 * x + 16] == colour).all()
    assert len(np.unique(PALETTE, axis=0)) == 11


@pytest.mark.parametrize("sticky", [-0.1, 1.1])
def test_sticky_must_be_a_probability(sticky: float) -> None:
    with pytest.raises(ValueError, match=f"sticky must be from 0 to 1, got {sticky}"):
        BY_NAME["Breakout"].rules(device=CPU, sticky=sticky)
