"""Reach: its rules by hand, its forms bit for bit, its rewards of other goals; and those of other environments."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check

from gymnast.envs import EnvError, make
from gymnast.envs.env import Env
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.draws import Draws, row_keys
from gymnast.envs.native.reach import Reach as Tensors
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.small.reach import Reach
from tests.conformance import check_env, check_vector_env

ID = "gymnast/Reach-v0"
CPU = torch.device("cpu")
ROWS = 32
OPTIONS: list[dict[str, Any]] = [{}, {"dimension": 1, "tolerance": 0.3}, {"size": 0.1, "dimension": 3}]


def test_a_push_by_hand() -> None:
    env = Reach(tolerance=0.05)
    env.reset(seed=0)
    env.goal = np.array([0.09375, 0.0], np.float32)
    table = [  # push, position and velocity of the first coordinate, reward
        (1.0, 0.03125, 0.03125, -1.0),
        (2.0, 0.0859375, 0.0546875, 0.0),  # counts as 1; 0.03125 * 3 / 4 + 1 / 32
        (-1.0, 0.095703125, 0.009765625, 0.0),
        (-1.0, 0.07177734375, -0.02392578125, 0.0),
        (-1.0, 0.02258300781250, -0.0491943359375, -1.0),
    ]
    for push, position, velocity, reward in table:
        seen, pay, terminated, truncated, _ = env.step(np.array([push, 0.0]))
        assert seen["observation"].tolist() == [position, 0.0, velocity, 0.0]
        assert seen["achieved_goal"].tolist() == [position, 0.0]
        assert seen["desired_goal"].tolist() == [0.09375, 0.0]
        assert (pay, terminated, truncated) == (reward, False, False)


def test_a_wall_stops_one_coordinate() -> None:
    env = Reach()
    env.reset(seed=0)
    env.position, env.velocity = np.array([0.99, 0.0], np.float32), np.array([0.1, 0.1], np.float32)
    seen, *_ = env.step(np.array([1.0, 0.0]))
    assert seen["achieved_goal"][0] == 1.0
    assert seen["observation"][2] == 0.0
    assert seen["observation"][3] == np.float32(0.1) - np.float32(0.1) / 4


def test_each_coordinate_may_differ_by_the_tolerance() -> None:
    env, goal = Reach(tolerance=0.25), np.zeros(2, np.float32)
    reached = np.array([[0.25, -0.25], [0.25, 0.3], [-0.26, 0.0], [0.0, 0.0]], np.float32)
    assert env.compute_reward(reached, goal, {}).tolist() == [0.0, -1.0, -1.0, 0.0]


def test_random_play_hardly_ever_reaches_the_goal() -> None:
    env = NativeVectorEnv(Tensors, 400, max_episode_steps=50)
    env.reset(seed=0)
    env.action_space.seed(0)
    rewards = torch.stack([env.step(env.action_space.sample())[1] for _ in range(50)])
    assert (rewards == 0).any(0).double().mean() < 0.05


@pytest.mark.parametrize("options", OPTIONS)
def test_tensors_are_the_single_environment_step_by_step(options: dict[str, Any]) -> None:
    game, single = Tensors(device=CPU, **options), Reach(render_mode="rgb_array", **options)
    assert (game.observation_space, game.action_space) == (single.observation_space, single.action_space)
    rng, draws = np.random.default_rng(0), Draws(row_keys(0, ROWS, device=CPU), torch.zeros(ROWS, dtype=torch.int64))
    state, rewards, walls = game.initial(draws), set(), 0
    for step in range(60):
        lean = np.sign(state["goal"].numpy() - state["position"].numpy()) if step % 20 < 10 else 0.0
        action = torch.from_numpy((rng.uniform(-1.5, 1.5, (ROWS, single.dimension)) + lean).astype(np.float32))
        after, reward, terminated = game.step(state, action, draws)
        obs: Any = game.observe(after)
        for row in range(ROWS):
            single.position, single.velocity, single.goal = (
                state[name][row].numpy() for name in ("position", "velocity", "goal")
            )
            expected, pay, over, _, _ = single.step(action[row].numpy())
            assert {name: part[row].numpy().tobytes() for name, part in obs.items()} == {
                name: part.tobytes() for name, part in sorted(expected.items())
            }
            assert (reward[row].item(), bool(terminated[row])) == (pay, over)
        picture = single.render()
        assert picture is not None
        assert np.array_equal(game.render({name: value[-1] for name, value in after.items()}), picture)
        rewards |= set(reward.tolist())
        walls += int((after["position"].abs() == single.size).sum())
        state = after
    assert rewards == {0.0, -1.0}
    assert walls > 0 or not options.get("size")


@pytest.mark.parametrize("kind", ["native", "serial", "async"])
@pytest.mark.parametrize("options", OPTIONS[1:])
def test_rewards_of_other_goals_are_those_of_a_step(kind: str, options: dict[str, Any]) -> None:
    env = make(ID, 3, vectorization=kind, options=options)
    ask = env.goal_rewards()
    assert ask is not None
    rng, seen = np.random.default_rng(0), set()
    obs: Any = env.reset()
    for _ in range(60):
        away = obs["desired_goal"] - obs["achieved_goal"]
        noise = torch.from_numpy(rng.normal(size=away.shape).astype(np.float32))
        step = env.step((4 * away + 0.3 * noise).clamp(-1, 1))
        after: Any = step.next_obs
        reward, over = ask(after["achieved_goal"], after["desired_goal"])
        assert over is not None
        assert torch.equal(reward, step.reward)
        assert torch.equal(over, step.terminated)
        seen |= set(reward.tolist())
        obs = step.obs
    assert seen == {0.0, -1.0}
    single = Reach(**options)
    many = torch.from_numpy(rng.uniform(-0.1, 0.1, (7, 3, single.dimension)).astype(np.float32))
    expected = single.compute_reward(many.numpy(), many.flip(0).numpy(), {})
    reward, _ = ask(many.flatten(0, 1), many.flip(0).flatten(0, 1))
    assert np.array_equal(reward.view(7, 3).numpy(), expected)
    assert expected.dtype == np.float32
    env.close()


@pytest.mark.filterwarnings("ignore:.*not having a spec.*")
@pytest.mark.parametrize("options", OPTIONS)
def test_gymnasium_accepts_it(options: dict[str, Any]) -> None:
    gymnasium_check(Reach(render_mode="rgb_array", **options))


@pytest.mark.parametrize("options", OPTIONS)
def test_it_conforms(options: dict[str, Any]) -> None:
    check_env(make(ID, 3, options=options), steps=60)
    env = make(ID, 4, native=True, options=options, render=True)
    assert isinstance(env, NativeEnv)
    check_vector_env(env.env)


def test_a_snapshot_brings_back_the_same_future() -> None:
    env, other = Reach(), Reach()
    rng = np.random.default_rng(0)
    env.reset(seed=3)
    for _ in range(5):
        env.step(rng.uniform(-1, 1, 2))
    snapshot = json.loads(json.dumps(env.snapshot()))
    other.reset(seed=99)
    other.restore(snapshot)
    for step in range(40):
        action = rng.uniform(-1, 1, 2)
        mine, theirs = (env.reset(), other.reset()) if step == 20 else (env.step(action), other.step(action))
        assert all(np.array_equal(mine[0][name], theirs[0][name]) for name in mine[0])
        assert mine[1:] == theirs[1:]


def test_observations_handed_out_are_not_written_again() -> None:
    env = Reach()
    first, _ = env.reset(seed=0)
    kept = {name: part.copy() for name, part in first.items()}
    env.step(np.ones(2))
    env.reset()
    assert all(np.array_equal(first[name], kept[name]) for name in first)


def test_a_picture_shows_point_and_goal() -> None:
    env = Reach(render_mode="rgb_array")
    env.reset(seed=0)
    env.goal = np.array([0.5, 0.5], np.float32)
    picture = env.render()
    assert picture is not None
    assert picture.shape == (160, 160, 3)
    assert picture[80, 80].tolist() == [245, 161, 66]
    assert picture[40, 120].tolist() == [80, 200, 120]  # up and right
    assert picture[120, 40].tolist() == [24, 24, 24]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be > 0 and finite, got 0"),
        ({"size": float("inf")}, "size must be > 0 and finite, got inf"),
        ({"tolerance": -0.1}, "tolerance must be >= 0 and finite, got -0.1"),
        ({"dimension": 4}, "dimension must be 1, 2 or 3, got 4"),
    ],
)
@pytest.mark.parametrize("native", [False, True])
def test_bad_options_fail_in_one_line(options: dict[str, Any], message: str, native: bool) -> None:
    with pytest.raises(ValueError, match="cannot be made") as caught:
        make(ID, 2, native=native or None, vectorization="native" if native else "serial", options=options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class Near(gym.Env[Any, Any]):
    """Goals whose functions take one pair only, as `compute_terminated` of PointMaze does."""

    place = spaces.Box(-1, 1, (2,), np.float32)
    observation_space = spaces.Dict(observation=place, achieved_goal=place, desired_goal=place)
    action_space = place

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return {name: np.zeros(2, np.float32) for name in self.observation_space.spaces}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.reset()[0], 0.0, True, False, {}

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> float:
        return -float(np.linalg.norm(achieved_goal - desired_goal))


class Far(Near):
    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any) -> bool:
        return bool(np.linalg.norm(achieved_goal - desired_goal) < 0.5)


class Failing(Far):
    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> float:
        return float(info["speed"])


class Longer(gym.RewardWrapper[Any, Any]):
    """A wrapper with rewards of its own."""

    def reward(self, reward: Any) -> float:
        return 2 * float(reward)

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        return 2 * self.env.unwrapped.compute_reward(achieved_goal, desired_goal, info)  # type: ignore[attr-defined]


GOALS = torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.3, 0.4]])


def asked(env: Env) -> tuple[list[float], list[bool] | None]:
    ask = env.goal_rewards()
    assert ask is not None
    reward, over = ask(GOALS, torch.zeros(3, 2))
    assert reward.dtype == torch.float32
    return [round(pay, 5) for pay in reward.tolist()], None if over is None else over.tolist()


def test_functions_of_one_pair_are_asked_row_by_row() -> None:
    assert asked(make(Far, 2)) == ([0.0, -1.0, -0.5], [True, False, False])
    assert asked(make(lambda: Longer(Far()))) == ([0.0, -2.0, -1.0], [True, False, False])


def test_vector_environments_in_this_process_have_goals_too() -> None:
    assert asked(make(gym.vector.SyncVectorEnv([Far] * 2))) == ([0.0, -1.0, -0.5], [True, False, False])
    assert make(gym.vector.SyncVectorEnv([lambda: gym.make("Pendulum-v1")])).goal_rewards() is None


def test_without_an_end_of_its_own_an_environment_says_nothing_of_ends() -> None:
    assert asked(make(Near)) == ([0.0, -1.0, -0.5], None)


def test_a_function_that_fails_is_named() -> None:
    ask = make(Failing, 1).goal_rewards()
    assert ask is not None
    with pytest.raises(EnvError, match=r"Failing cannot compute rewards of other goals: .*speed"):
        ask(GOALS, GOALS)


@pytest.mark.parametrize("id", ["CartPole-v1", "gymnast/CartPole-v1", "Blackjack-v1"])
def test_environments_without_goals_have_none(id: str) -> None:
    assert make(id).goal_rewards() is None
