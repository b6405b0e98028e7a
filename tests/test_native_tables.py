"""Device-native toy text is Gymnasium's: the same outcome from the same draw, the same first states, the same cards."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from torch import Tensor

from gymnast.agents.tabular.dynamic_programming import evaluate_policy, optimal_q
from gymnast.envs import make
from gymnast.envs.native.blackjack import MOST_DRAWN, Blackjack
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.table import TableGame
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.native.world import advance
from gymnast.envs.registration import NATIVE, NATIVE_OF
from gymnast.envs.step import TransitionTable
from tests.conformance import check_env

CPU = torch.device("cpu")
TABLES = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1", "Taxi-v4")
IDS = (*TABLES, "Blackjack-v1")
DECK = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((id, {}) for id in TABLES),
    ("FrozenLake-v1", {"is_slippery": False, "reward_schedule": (2.5, -1.5, -0.25)}),
    ("FrozenLake-v1", {"desc": generate_random_map(13, seed=4), "success_rate": 0.7}),
    ("FrozenLake-v1", {"desc": ["SFSF", "FHFS", "FFFG"]}),  # several starts, not a square
    ("Taxi-v4", {"is_rainy": True}),
    ("Taxi-v4", {"is_rainy": True, "rainy_probability": 0.55}),
]


class Scripted(Draws):
    """Draws that are given: a uniform number, and integers by their index; each for all rows."""

    def __init__(self, uniform: Tensor | None = None, integers: Tensor | None = None) -> None:
        self.numbers, self.integers = uniform, integers

    def uniform(self, index: int) -> Tensor:
        assert self.numbers is not None
        assert index == 0
        return self.numbers

    def integer(self, index: int, below: int | Tensor) -> Tensor:
        assert self.integers is not None
        assert below == 13
        return self.integers[index]


class ScriptedGenerator:
    """In place of Gymnasium's np_random: the numbers and cards that it is given, in order."""

    def __init__(self, uniform: float = 0.0, cards: Any = ()) -> None:
        self.number, self.cards = uniform, iter(cards)

    def random(self) -> float:
        return self.number

    def choice(self, options: list[Any]) -> Any:
        return options[next(self.cards)] if len(options) == 13 else options[0]  # a deck, or how a card looks


def native(id: str, num_envs: int = 1, **options: Any) -> NativeVectorEnv:
    game, limit = NATIVE[NATIVE_OF[id]]
    return NativeVectorEnv(game, num_envs, max_episode_steps=limit, **options)


def draws_near(cumulative: np.ndarray, rng: np.random.Generator) -> float:
    """A multiple of 2**-24 in [0, 1), in half of the cases as near as can be to where the outcome changes."""
    drawn = int(rng.integers(2**24))
    if rng.random() < 0.5:
        drawn = int(np.floor(rng.choice(cumulative) * 2**24)) + int(rng.integers(-1, 2))
    return min(max(drawn, 0), 2**24 - 1) / 2**24


@pytest.mark.parametrize(("id", "options"), OPTIONS)
def test_a_draw_leads_where_it_does_in_gymnasium(id: str, options: dict[str, Any]) -> None:
    base, env, rng = cast(Any, gym.make(id, **options).unwrapped), native(id, **options), np.random.default_rng(0)
    base.reset(seed=0)
    states, actions = len(base.P), int(base.action_space.n)
    rows = []
    for _ in range(2000):
        base.s, action = int(rng.integers(states)), int(rng.integers(actions))
        state, cumulative = base.s, np.cumsum([outcome[0] for outcome in base.P[base.s][action]])
        drawn = draws_near(cumulative, rng)
        base.np_random = ScriptedGenerator(drawn)
        obs, reward, terminated, _, info = base.step(action)
        rows.append((state, action, drawn, obs, np.float32(reward), terminated, info.get("action_mask", 0)))
    state, action, drawn, obs, reward, terminated, mask = (np.array(column) for column in zip(*rows, strict=True))
    after, our_reward, our_terminated = env.game.step(
        {"state": torch.tensor(state)}, torch.tensor(action), Scripted(torch.tensor(drawn, dtype=torch.float32))
    )
    np.testing.assert_array_equal(cast(Tensor, env.game.observe(after)).numpy(), obs)
    np.testing.assert_array_equal(our_reward.numpy(), reward)
    np.testing.assert_array_equal(our_terminated.numpy(), terminated)
    ours = env.game.action_mask(after)
    assert (ours is not None) == (id == "Taxi-v4")
    if ours is not None:
        np.testing.assert_array_equal(ours.numpy(), mask.astype(np.bool_))


@pytest.mark.parametrize(("id", "options"), [("Taxi-v4", {}), OPTIONS[7], ("FrozenLake-v1", {})])
def test_first_states_are_those_of_the_same_draw_and_distributed_alike(id: str, options: dict[str, Any]) -> None:
    base, env = cast(Any, gym.make(id, **options).unwrapped), native(id, 30_000, **options)
    rng = np.random.default_rng(1)
    cumulative = np.cumsum(base.initial_state_distrib)
    drawn = [draws_near(cumulative, rng) for _ in range(1500)]
    theirs = []
    for number in drawn:
        base.np_random = ScriptedGenerator(number)
        theirs.append(base.reset()[0])
    ours = env.game.initial(Scripted(torch.tensor(drawn, dtype=torch.float32)))["state"]
    assert ours.tolist() == theirs
    env.reset(seed=0)
    states = env.world.state["state"].numpy()
    expected = base.initial_state_distrib
    counts = np.bincount(states, minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    possible = expected > 0
    squares = (counts[possible] - 30_000 * expected[possible]) ** 2 / (30_000 * expected[possible])
    freedom = possible.sum() - 1
    assert squares.sum() <= freedom + 4 * np.sqrt(2 * freedom)  # chi-square's mean and four deviations


def test_outcomes_come_with_their_probabilities() -> None:
    env = native("Taxi-v4", 30_000, is_rainy=True)
    env.reset(seed=3)
    state = torch.full((30_000,), env.game._env.encode(2, 2, 0, 1))  # type: ignore[attr-defined]
    env.world = env.world._replace(state={"state": state})
    env.move(torch.full_like(state, 1))
    taxis = torch.div(env.world.state["state"], 20, rounding_mode="floor")
    seen = [int((taxis == row * 5 + column).sum()) for row, column in ((1, 2), (2, 1), (2, 3))]
    assert sum(seen) == 30_000
    np.testing.assert_allclose(seen, [24_000, 3_000, 3_000], atol=4 * 70)


def test_a_table_that_does_not_sum_to_1_is_refused() -> None:
    table = TransitionTable(
        probability=np.full((2, 1, 2), 0.4),
        next_state=np.zeros((2, 1, 2), np.int64),
        reward=np.zeros((2, 1, 2)),
        terminated=np.zeros((2, 1, 2), np.bool_),
        initial=np.array([1.0, 0.0]),
        max_episode_steps=None,
    )
    with pytest.raises(ValueError, match=r"outcomes of each state and action must be >= 0 and sum to 1.*0\.8"):
        TableGame(table, device=CPU)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("gymnast/Taxi-v4", {"fickle_passenger": True}, "fickle_passenger must be False"),
        ("gymnast/FrozenLake-v1", {"map_name": "5x5"}, "map_name must be one of 4x4, 8x8"),
        ("gymnast/FrozenLake-v1", {"desc": ["FF", "FG"]}, "first states"),
        ("gymnast/CliffWalking-v1", {"windy": True}, "windy"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")  # Gymnasium divides by the number of starts
def test_wrong_options_fail_in_one_line(id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make(id, options=options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("id", TABLES)
def test_the_table_is_gymnasiums_with_the_time_limit(id: str) -> None:
    ours, theirs = make(NATIVE_OF[id], 2).transition_table(), make(id, vectorization="serial").transition_table()
    assert ours is not None
    assert theirs is not None
    for name in TransitionTable.__slots__:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("id", IDS)
def test_spaces_time_limit_and_promises(id: str) -> None:
    theirs, env = gym.make(id), make(NATIVE_OF[id], 4, seed=2)
    assert env.single_observation_space == theirs.observation_space
    assert env.single_action_space == theirs.action_space
    assert NATIVE[NATIVE_OF[id]][1] == gym.spec(id).max_episode_steps
    assert make(id, native=True).id == NATIVE_OF[id]
    assert env.render_fps == theirs.metadata["render_fps"]
    check_env(env, steps=60)


@pytest.mark.parametrize("id", IDS)
def test_rows_do_not_depend_on_how_many_there_are(id: str) -> None:
    few, many, rng = native(id, 3), native(id, 7), np.random.default_rng(0)
    few.reset(seed=5)
    many.reset(seed=5)
    for _ in range(100):
        action = torch.from_numpy(rng.integers(int(many.single_action_space.n), size=7))  # type: ignore[attr-defined]
        one, other = few.move(action[:3]), many.move(action)
        assert torch.equal(one.reward, other.reward[:3])
        assert torch.equal(one.terminated, other.terminated[:3])
        assert all(torch.equal(part, many.world.state[name][:3]) for name, part in few.world.state.items())


@pytest.mark.parametrize("id", IDS)
def test_pictures_show_the_state(id: str) -> None:
    env = make(NATIVE_OF[id], 1, seed=1, render=True)
    frames = [env.render(0)]
    for action in (0, 1, 1, 0, 0, 1):
        env.step(torch.tensor([action]))
        frames.append(env.render(0))
    assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)
    assert any((frame != frames[0]).any() for frame in frames)


@pytest.mark.parametrize("id", ["Taxi-v4", "FrozenLake-v1", "Blackjack-v1"])
def test_a_step_is_one_graph(id: str) -> None:
    torch.compiler.reset()  # it stops at eight compiled forms of a function in one process
    env, twin, action = native(id, 4), native(id, 4), torch.tensor([0, 1, 1, 0])
    after, ours = torch.compile(advance, fullgraph=True, backend="eager")(env.game, env.world, action, env.limit, None)
    theirs = twin.move(action)
    assert torch.equal(ours.reward, theirs.reward)
    assert all(torch.equal(part, twin.world.state[name]) for name, part in after.state.items())


def hands(cards: np.ndarray, rng: np.random.Generator, **rules: bool) -> tuple[list[list[Any]], list[list[int]]]:
    """Games that Gymnasium plays with these cards [games, steps, 10]: (obs, reward, terminated)s, and the actions."""
    base: Any = gym.make("Blackjack-v1", **rules).unwrapped
    games, actions = [], []
    for script in cards:
        base.reset(seed=0)
        base.np_random = ScriptedGenerator(cards=script[0])
        base.dealer, base.player = [[base.np_random.choice(DECK) for _ in range(2)] for _ in range(2)]
        game, chosen, terminated = [(base._get_obs(), 0.0, False)], [], False
        for numbers in script[1:]:
            if terminated:
                break
            chosen.append(int(rng.random() < 0.6))
            base.np_random = ScriptedGenerator(cards=numbers)
            obs, reward, terminated, *_ = base.step(chosen[-1])
            game.append((obs, reward, terminated))
        games.append(game)
        actions.append(chosen)
    return games, actions


@pytest.mark.parametrize("rules", [{}, {"sab": False}, {"sab": False, "natural": True}, {"natural": True}])
def test_blackjack_with_the_same_cards_is_gymnasiums(rules: dict[str, bool]) -> None:
    rng, games = np.random.default_rng(2), 1700
    cards = rng.integers(13, size=(games, 22, MOST_DRAWN))
    cards[: games // 4] = rng.choice([0, 0, 0, 1, 5, 9], (games // 4, 22, MOST_DRAWN))  # many aces: long hands
    theirs, actions = hands(cards, rng, **rules)
    game = Blackjack(device=CPU, **rules)
    script = torch.from_numpy(cards).permute(1, 2, 0)  # [steps, 10, games]
    state, reward, terminated = game.initial(Scripted(integers=script[0])), torch.zeros(games), torch.zeros(games) > 0
    compared = 0
    for index in range(22):
        obs = [part.tolist() for part in cast("dict[str, Tensor]", game.observe(state)).values()]
        for row, played in enumerate(theirs):
            if index < len(played):
                ours = (tuple(part[row] for part in obs), float(reward[row]), bool(terminated[row]))
                assert ours == played[index]
                compared += 1
        action = torch.tensor([chosen[index] if index < len(chosen) else 0 for chosen in actions])
        if index < 21:
            state, reward, terminated = game.step(state, action, Scripted(integers=script[index + 1]))
    assert compared - games > 2500
    assert all(played[-1][2] for played in theirs)
    assert any(played[-1][1] == 1.5 for played in theirs) == (rules == {"sab": False, "natural": True})


def test_the_dealer_never_needs_more_cards_than_are_drawn() -> None:
    @cache
    def most(hard: int, ace: bool) -> int:
        total = hard + 10 if ace and hard <= 11 else hard
        return 0 if total >= 17 else 1 + max(most(hard + card, ace or card == 1) for card in range(1, 11))

    pairs = [(one + other, 1 in (one, other)) for one in range(1, 11) for other in range(1, 11)]
    assert max(most(*pair) for pair in pairs) == MOST_DRAWN


def test_blackjack_cards_come_with_their_probabilities() -> None:
    env = native("Blackjack-v1", 26_000)
    env.reset(seed=0)
    for name in ("open", "hidden"):
        counts = np.bincount(env.world.state[name].numpy(), minlength=11)[1:]
        expected = np.array([2000] * 9 + [8000])
        assert ((counts - expected) ** 2 / expected).sum() < 9 + 4 * np.sqrt(18)


def test_what_is_planned_on_the_table_is_what_playing_gives() -> None:
    rows = 4000
    env = make("gymnast/FrozenLake-v1", rows, seed=0)
    table = env.transition_table()
    assert table is not None
    policy = torch.from_numpy(optimal_q(table, 0.99).argmax(1))
    expected = float(table.initial @ evaluate_policy(table, policy.numpy(), gamma=1.0, horizon=100))
    obs, first = cast(Tensor, env.reset()), torch.full((rows,), torch.nan)
    for _ in range(100):
        step = env.step(policy[obs])
        assert step.episode_return is not None or step.num_ended == 0
        if step.episode_return is not None:
            first = torch.where(first.isnan() & step.ended, step.episode_return.to(torch.float32), first)
        obs = cast(Tensor, step.obs)
    assert not first.isnan().any()
    assert float(first.mean()) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / rows))
    assert expected > 0.7
