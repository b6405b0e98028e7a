"""Small device-native games: Catch, Memory and Chain equal the single environments, DeepSea and Maze by hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gymnast import TrainOptions, evaluate, load, train
from gymnast.agents import QLearningConfig
from gymnast.agents.tabular.dynamic_programming import optimal_q
from gymnast.envs import make
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.catch import Catch
from gymnast.envs.native.chain import Chain
from gymnast.envs.native.deep_sea import DeepSea
from gymnast.envs.native.draws import Draws, row_keys
from gymnast.envs.native.game import Game
from gymnast.envs.native.maze import Maze
from gymnast.envs.native.memory import Memory
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.small import catch, chain, memory
from tests.conformance import check_env, check_vector_env

CPU = torch.device("cpu")
ROWS = 64


def draws(rows: int = ROWS, seed: int = 0) -> Draws:
    return Draws(row_keys(seed, rows, device=CPU), torch.zeros(rows, dtype=torch.int64))


def place(single: Any, state: dict[str, Any]) -> None:
    """Put a single environment into the state of a row."""
    if isinstance(single, catch.Catch):
        single.ball_row, single.ball_column, single.paddle = state["row"], state["column"], state["paddle"]
    elif isinstance(single, memory.Memory):
        single.cue, single.time = state["cue"], state["time"]
    else:
        single.state = state["at"]


PAIRS = [
    (Catch, catch.Catch, {}),
    (Catch, catch.Catch, {"rows": 2, "columns": 1}),
    (Catch, catch.Catch, {"rows": 4, "columns": 7}),
    (Memory, memory.Memory, {}),
    (Memory, memory.Memory, {"delay": 1, "cues": 5}),
    (Chain, chain.Chain, {}),
    (Chain, chain.Chain, {"length": 1, "left_reward": 0.3, "right_reward": -2.0}),
]


@pytest.mark.parametrize(("rules", "single_class", "options"), PAIRS)
def test_it_is_the_single_environment_step_by_step(rules: Any, single_class: Any, options: dict[str, Any]) -> None:
    game, single = rules(device=CPU, **options), single_class(render_mode="rgb_array", **options)
    assert (game.observation_space, game.action_space) == (single.observation_space, single.action_space)
    rng = np.random.default_rng(0)
    state, running = game.initial(draws()), np.ones(ROWS, bool)
    seen = set()
    for _ in range(30):
        rows = [{name: value[row].item() for name, value in state.items()} for row in range(ROWS)]
        action = torch.from_numpy(rng.integers(game.action_space.n, size=ROWS))
        after, reward, terminated = game.step(state, action, draws())
        obs = game.observe(after)
        for row in np.flatnonzero(running):
            place(single, rows[row])
            expected, pay, over, _, _ = single.step(int(action[row]))
            assert np.array_equal(obs[row].numpy(), expected)
            assert (reward[row].item(), bool(terminated[row])) == (np.float32(pay), over)
            seen.add((float(reward[row]), over))
            if row == 0:
                one = {name: value[row] for name, value in after.items()}
                assert np.array_equal(game.render(one), single.render())
        state, running = after, running & ~terminated.numpy()
    assert not running.all()
    assert any(over for _, over in seen)


@pytest.mark.parametrize(
    ("game", "name", "count"),
    [
        (Catch(device=CPU), "column", 5),
        (Memory(cues=4, device=CPU), "cue", 4),
        (Maze("SS#/.SG", device=CPU), "at", 3),
    ],
)
def test_starts_are_uniform(game: Game, name: str, count: int) -> None:
    drawn = game.initial(draws(20_000))[name].bincount()
    drawn = drawn[drawn > 0]
    assert len(drawn) == count
    assert (abs(drawn - 20_000 / count) < 5 * (20_000 / count) ** 0.5).all()


@pytest.mark.parametrize(("rules", "single_class", "options"), PAIRS)
def test_first_observations_are_those_of_the_single_environment(
    rules: Any, single_class: Any, options: dict[str, Any]
) -> None:
    game, single = rules(device=CPU, **options), single_class(**options)
    firsts = {np.asarray(single.reset(seed=seed)[0]).tobytes() for seed in range(60)}
    assert {first.numpy().tobytes() for first in game.observe(game.initial(draws()))} == firsts


def play(env: NativeVectorEnv, actions: list[int]) -> tuple[list[float], list[bool]]:
    env.reset(seed=0)
    moves = [env.move(torch.tensor([action])) for action in actions]
    return [float(m.reward) for m in moves], [bool(m.terminated) for m in moves]


def test_deep_sea_pays_by_its_rules() -> None:
    env = NativeVectorEnv(DeepSea, 1, size=4)
    cost = np.float32(-0.0025)
    assert play(env, [1, 1, 1, 1]) == ([cost, cost, cost, np.float32(0.9975)], [False, False, False, True])
    assert play(env, [0, 0, 0, 0]) == ([0.0] * 4, [False, False, False, True])
    assert play(env, [0, 1, 1, 1]) == ([0.0, cost, cost, cost], [False, False, False, True])  # one column short
    assert play(env, [1, 1, 1, 0]) == ([cost, cost, cost, 0.0], [False, False, False, True])
    returns = [sum(play(env, list(actions))[0]) for actions in itertools.product((0, 1), repeat=4)]
    assert max(returns) == pytest.approx(0.99)
    assert sum(total > 0 for total in returns) == 1


def test_deep_sea_shows_the_diver() -> None:
    env = NativeVectorEnv(DeepSea, 1, size=3, render_mode="rgb_array")
    obs, _ = env.reset(seed=0)
    assert obs.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]
    moved = env.move(torch.tensor([1]))
    assert moved.obs.flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert (env.picture(0)[16:32, 16:32] == (245, 161, 66)).all()
    moved = env.move(torch.tensor([0]))
    assert moved.obs.flatten().tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0]
    moved = env.move(torch.tensor([1]))
    assert moved.next_obs.sum() == 0
    assert moved.obs.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert env.picture(0, final=True).shape == (48, 48, 3)


def test_deep_sea_swaps_actions_in_half_of_the_cells() -> None:
    plain = DeepSea(20, device=CPU)
    one, again, other = (DeepSea(20, device=CPU, randomise=True, mapping_seed=seed) for seed in (1, 1, 2))
    assert plain.right.tolist() == [1] * 400
    assert torch.equal(one.right, again.right)
    assert not torch.equal(one.right, other.right)
    assert abs(float(one.right.double().mean()) - 0.5) < 0.1
    env = NativeVectorEnv(DeepSea, 1, size=20, randomise=True, mapping_seed=1)
    way = [int(one.right[21 * row]) for row in range(20)]
    assert sum(play(env, way)[0]) == pytest.approx(0.99)
    assert sum(play(env, [1 - action for action in way])[0]) < 0.01


def test_maze_by_hand() -> None:
    env = NativeVectorEnv(Maze, 1, map="S.#/#.T/..G", step_cost=0.25)
    up, right, down, left = range(4)
    assert env.reset(seed=0)[0].tolist() == [0]
    table = [
        (up, 0, -0.25, False),  # the edge
        (left, 0, -0.25, False),
        (down, 0, -0.25, False),  # a wall
        (right, 1, -0.25, False),
        (right, 1, -0.25, False),  # a wall
        (down, 4, -0.25, False),
        (left, 4, -0.25, False),  # a wall
        (right, 5, -1.25, True),  # the trap
        (right, 1, -0.25, False),
        (down, 4, -0.25, False),
        (down, 7, -0.25, False),
        (left, 6, -0.25, False),
        (right, 7, -0.25, False),
        (right, 8, 0.75, True),  # the goal
    ]
    for action, cell, reward, terminated in table:
        moved = env.move(torch.tensor([action]))
        assert moved.next_obs.tolist() == [cell]
        assert (float(moved.reward), bool(moved.terminated)) == (reward, terminated)
        assert moved.obs.tolist() == [0 if terminated else cell]


def test_maze_as_a_board() -> None:
    game = Maze(["S#", ".G", "T."], device=CPU, observation="board")
    board = game.observe(game.initial(draws(2)))
    assert board.shape == (2, 4, 3, 2)
    assert board[1].flatten(1).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
    ]
    assert game.transition_table() is None
    picture = game.render({"at": torch.tensor(0)})
    assert picture.shape == (72, 48, 3)
    assert [picture[y, x].tolist() for y, x in ((0, 0), (0, 30), (60, 0), (30, 30))] == [
        [245, 161, 66],
        [110, 110, 110],
        [220, 70, 70],
        [80, 200, 120],
    ]


@pytest.mark.parametrize(
    ("id", "options"), [("gymnast/Maze-v0", {}), ("gymnast/Maze-v0", {"map": "S.T/.#./G.."}), ("gymnast/Chain-v0", {})]
)
def test_the_transition_table_is_the_game(id: str, options: dict[str, Any]) -> None:
    env = make(id, 1, native=True, options=options)
    assert isinstance(env, NativeEnv)
    table, game = env.transition_table(), env.env.game
    assert table is not None
    assert table.max_episode_steps == env.env.limit
    states, actions, _ = table.probability.shape
    for state, action in itertools.product(range(states), range(actions)):
        if isinstance(game, Maze) and (game.ends[state] or game.map.ravel()[state] == "#"):
            continue
        after, reward, terminated = game.step({"at": torch.tensor([state])}, torch.tensor([action]), draws(1))
        expected = (
            table.next_state[state, action, 0],
            table.reward[state, action, 0],
            table.terminated[state, action, 0],
        )
        assert (int(after["at"]), bool(terminated)) == (expected[0], expected[2])
        assert float(reward) == np.float32(expected[1])
    first = game.initial(draws(200))["at"].bincount(minlength=states) > 0
    assert np.array_equal(first.numpy(), table.initial > 0)


def test_the_default_maze_has_a_goal_fourteen_steps_away() -> None:
    table = Maze(device=CPU).transition_table()
    assert table is not None
    value = optimal_q(table, 0.5).max(1)
    assert value[18] == pytest.approx(0.5**13)  # the start, row 2 and column 0: the 14th step pays
    assert value[8] == 0.0


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("gymnast/Catch-v0", {"rows": 1}, "rows must be >= 2, got 1"),
        ("gymnast/Memory-v0", {"cues": 1}, "cues must be >= 2, got 1"),
        ("gymnast/Chain-v0", {"length": 0}, "length must be >= 1, got 0"),
        ("gymnast/DeepSea-v0", {"size": 0}, "size must be >= 1, got 0"),
        ("gymnast/DeepSea-v0", {"mapping_seed": -1}, "mapping_seed must be >= 0, got -1"),
        ("gymnast/Maze-v0", {"observation": "rgb"}, "observation must be cell or board, got 'rgb'"),
        ("gymnast/Maze-v0", {"map": "S.G/.."}, "map must have rows of one length, at least 1, got 'S.G/..'"),
        ("gymnast/Maze-v0", {"map": []}, "map must have rows of one length, at least 1, got ''"),
        ("gymnast/Maze-v0", {"map": "SxG"}, "map must contain only # . S G T, got 'x'"),
        ("gymnast/Maze-v0", {"map": ".G"}, "map must have a start S"),
        ("gymnast/Maze-v0", {"map": "S#G"}, "map must have a path from each start S to a goal G"),
        ("gymnast/Maze-v0", {"map": "S.G/##./STG"}, "map must have a path from each start S to a goal G"),
    ],
)
def test_bad_options_fail_in_one_line(id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="cannot be made") as caught:
        make(id, 2, native=True, options=options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("id", "options"),
    [
        ("gymnast/Catch-v0", {"rows": 3, "columns": 4}),
        ("gymnast/Chain-v0", {"length": 2}),
        ("gymnast/Memory-v0", {"delay": 2, "cues": 3}),
        ("gymnast/DeepSea-v0", {"size": 3, "randomise": True}),
        ("gymnast/Maze-v0", {"map": "STS/.../#G#", "observation": "board"}),
    ],
)
def test_conformance_with_options(id: str, options: dict[str, Any]) -> None:
    check_env(make(id, 3, native=True, options=options), steps=60)
    env = make(id, 4, native=True, options=options, render=True)
    assert isinstance(env, NativeEnv)
    check_vector_env(env.env)


def test_the_single_environment_is_played_unless_asked_otherwise() -> None:
    assert not isinstance(make("gymnast/Catch-v0", 2), NativeEnv)
    assert isinstance(make("gymnast/Catch-v0", 2, vectorization="native"), NativeEnv)
    assert isinstance(make("gymnast/Maze-v0", 2), NativeEnv)


@pytest.mark.long
def test_a_maze_compiles_to_the_same() -> None:
    envs = [NativeVectorEnv(Maze, 9, map="STS/.../#G#", observation="board", compile=how) for how in (False, True)]
    for env in envs:
        env.reset(seed=1)
    for action in torch.from_numpy(np.random.default_rng(0).integers(4, size=(40, 9))):
        eager, compiled = (env.move(action) for env in envs)
        for one, other in zip(eager[:7], compiled[:7], strict=True):
            assert torch.equal(one, other)


def test_q_learning_finds_the_way(tmp_path: Path) -> None:
    options = TrainOptions(env="gymnast/Maze-v0", steps=5_000, out=str(tmp_path), video=False, eval_every=0)
    result = train("q-learning", options, QLearningConfig(alpha=0.5, gamma=0.95, initial_q=1.0))
    report = evaluate(load(result.path), "gymnast/Maze-v0", episodes=5)
    assert (report.mean_return, set(report.lengths)) == (1.0, {14})
