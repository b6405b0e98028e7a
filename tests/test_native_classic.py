"""Device-native classic control is Gymnasium's in float32: rules, first states, spaces, time limits, pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from gymnast.envs import make
from gymnast.envs.native.game import State
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.native.world import advance
from gymnast.envs.registration import NATIVE, NATIVE_OF
from tests.conformance import check_env, random_actions

STEPS, TOLERANCE = 10_000, 1e-6
IDS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1")
WIDE: dict[str, dict[str, float]] = {
    "CartPole-v1": {"low": -0.2, "high": 0.2},
    "Acrobot-v1": {"low": -2.5, "high": 2.5},
    "MountainCar-v0": {"low": -1.2, "high": 0.55},
    "MountainCarContinuous-v0": {"low": -1.2, "high": 0.5},
    "Pendulum-v1": {"x_init": np.pi, "y_init": 8.0},
}
"""Bounds of first states, of every other episode, from which rare places are reached."""
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((id, {}) for id in IDS),
    ("CartPole-v1", {"sutton_barto_reward": True}),
    ("MountainCar-v0", {"goal_velocity": 0.03}),
    ("MountainCarContinuous-v0", {"goal_velocity": 0.03}),
    ("Pendulum-v1", {"g": 3.7}),
]


class Transitions(NamedTuple):
    """What Gymnasium does, float64 [T, ...] but for actions."""

    state: np.ndarray
    action: np.ndarray
    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    next_state: np.ndarray


def played(id: str, options: dict[str, Any], steps: int = STEPS) -> Transitions:
    """Random steps; in mountain car's every other episode mostly with the motion, which reaches goal and wall."""
    env, rng, ended, episodes = gym.make(id, **options), np.random.default_rng(0), True, 0
    base: Any = env.unwrapped
    env.action_space.seed(0)
    rows: list[tuple[Any, ...]] = []
    for _ in range(steps):
        if ended:
            env.reset(seed=episodes, options=WIDE[id] if episodes % 2 else None)
            episodes += 1
        state, action = np.array(base.state, np.float64), env.action_space.sample()
        if id.startswith("MountainCar") and episodes % 2 and rng.random() < 0.9:
            with_motion = np.sign(state[1])
            action = int(with_motion) + 1 if id == "MountainCar-v0" else np.array([with_motion], np.float32)
        obs, reward, terminated, truncated, _ = env.step(action)
        rows.append((state, action, obs, reward, terminated, np.array(base.state, np.float64)))
        ended = terminated or truncated
    return Transitions(*(np.array(column) for column in zip(*rows, strict=True)))


def native(id: str, num_envs: int = 1, **options: Any) -> NativeVectorEnv:
    game, limit = NATIVE[NATIVE_OF[id]]
    return NativeVectorEnv(game, num_envs, max_episode_steps=limit, **options)


def as_state(env: NativeVectorEnv, values: np.ndarray) -> State:
    """Gymnasium's states [T, D] as ours; the pendulum's angle, which Gymnasium lets grow, in [-pi, pi)."""
    columns = dict(zip(env.world.state, values.T, strict=True))
    if "theta" in columns and len(columns) == 2:
        columns["theta"] = (columns["theta"] + np.pi) % (2 * np.pi) - np.pi
    return {name: torch.tensor(column, dtype=torch.float32) for name, column in columns.items()}


def margin(id: str, state: np.ndarray, goal_velocity: float = 0.0) -> np.ndarray:
    """How far Gymnasium's states [T, D] are from the edge between terminated and not, float64 [T]."""
    if id == "CartPole-v1":
        limits = np.array([2.4, 12 * 2 * np.pi / 360])
        return np.abs(np.abs(state[:, [0, 2]]) - limits).min(1)
    if id == "Acrobot-v1":
        return np.abs(-np.cos(state[:, 0]) - np.cos(state[:, 0] + state[:, 1]) - 1.0)
    if id == "Pendulum-v1":
        return np.full(len(state), np.inf)
    goal = 0.5 if id == "MountainCar-v0" else 0.45
    edges = np.abs(state[:, 0] - goal), np.abs(state[:, 1] - goal_velocity)
    # only an edge that the other condition lets count; the wall, where the velocity jumps to 0, is one too
    return np.minimum(np.where(state[:, 0] > goal - 1e-3, np.minimum(*edges), np.inf), _from_wall(state))


def _from_wall(state: np.ndarray) -> np.ndarray:
    return np.where(np.float32(state[:, 0]) == np.float32(-1.2), np.inf, np.abs(state[:, 0] + 1.2))


def relative(ours: Tensor, theirs: np.ndarray) -> np.ndarray:
    """The difference, as a part of theirs where that is more than 1."""
    return np.abs(ours.numpy().astype(np.float64) - theirs) / np.maximum(1.0, np.abs(theirs))


@pytest.mark.parametrize(("id", "options"), OPTIONS)
def test_a_step_is_gymnasiums(id: str, options: dict[str, Any]) -> None:
    theirs, env = played(id, options), native(id, **options)
    after, reward, terminated = env.game.step(
        as_state(env, theirs.state),
        torch.from_numpy(theirs.action),
        None,  # type: ignore[arg-type] # draws nothing
    )
    near = margin(id, theirs.next_state, options.get("goal_velocity", 0.0)) <= TOLERANCE
    assert near.sum() < 5
    assert (relative(env.game.observe(after), theirs.obs)[~near] <= TOLERANCE).all()
    assert reward.dtype == torch.float32
    assert (relative(reward, theirs.reward)[~near] <= TOLERANCE).all()
    assert (terminated.numpy() == theirs.terminated)[~near].all()
    if id != "Pendulum-v1":
        assert theirs.terminated.sum() >= 5


def test_mountain_car_meets_its_wall_and_pendulum_its_bounds_in_these_steps() -> None:
    position, velocity = played("MountainCar-v0", {}).next_state.T
    assert ((position == -1.2) & (velocity == 0)).sum() >= 5
    angle, speed = played("Pendulum-v1", {}).state.T
    assert (np.abs(speed) == 8).sum() >= 5
    assert np.abs(angle).max() > 2 * np.pi


@pytest.mark.parametrize(("id", "action"), [("MountainCarContinuous-v0", 1.7), ("Pendulum-v1", -2.9)])
def test_actions_beyond_the_bounds_count_as_gymnasium_counts_them(id: str, action: float) -> None:
    base, env = gym.make(id).unwrapped, native(id)
    base.reset(seed=1)
    state = as_state(env, np.array([base.state], np.float64))  # type: ignore[attr-defined]
    obs, reward, *_ = base.step(np.array([action], np.float32))
    after, our_reward, _ = env.game.step(state, torch.tensor([[action]]), None)  # type: ignore[arg-type]
    np.testing.assert_allclose(env.game.observe(after)[0].numpy(), obs, atol=TOLERANCE)
    assert float(our_reward) == pytest.approx(float(reward), rel=TOLERANCE)


@pytest.mark.parametrize("id", IDS)
def test_first_states_are_distributed_as_gymnasiums(id: str) -> None:
    stats, size = pytest.importorskip("scipy.stats"), 4000
    base: Any = gym.make(id).unwrapped
    base.reset(seed=0)
    theirs = np.array([(base.reset(), base.state)[1] for _ in range(size)], np.float64)
    env = native(id, size)
    env.reset(seed=0)
    for column, (name, ours) in zip(theirs.T, env.world.state.items(), strict=True):
        if column.std() == 0:
            assert (ours == column[0]).all(), name
        else:
            assert stats.ks_2samp(column, ours.numpy()).pvalue > 1e-3, name
    varying = [ours.numpy() for ours in env.world.state.values() if ours.std() > 0]
    correlation = np.corrcoef(varying).reshape(len(varying), -1)
    assert np.abs(correlation - np.eye(len(varying))).max() < 0.06


@pytest.mark.parametrize("id", IDS)
def test_spaces_time_limit_and_promises(id: str) -> None:
    theirs, env = gym.make(id), make(NATIVE_OF[id], 4, seed=2, max_episode_steps=23)
    assert env.single_observation_space == theirs.observation_space
    assert env.single_action_space == theirs.action_space
    assert NATIVE[NATIVE_OF[id]][1] == gym.spec(id).max_episode_steps
    assert make(id, 2, native=True).id == NATIVE_OF[id]
    assert env.render_fps == theirs.metadata["render_fps"] or id.startswith(("CartPole", "Pendulum"))
    check_env(env, steps=60)


@pytest.mark.parametrize("id", IDS)
def test_rows_do_not_depend_on_how_many_there_are_and_a_snapshot_brings_back_the_future(id: str) -> None:
    rng, few, many = np.random.default_rng(0), native(id, 3), native(id, 7)
    few.reset(seed=11)
    many.reset(seed=11)
    snapshot, actions, seen = many.snapshot(), [], []
    for _ in range(250):
        action = random_actions(many.single_action_space, 7, rng)
        one, other = few.move(action[:3]), many.move(action)
        for name in ("obs", "next_obs", "reward", "terminated", "truncated", "total", "length"):
            assert torch.equal(getattr(one, name), getattr(other, name)[:3]), name
        actions.append(action)
        seen.append(other.next_obs)
    many.restore(snapshot)
    assert all(torch.equal(many.move(action).next_obs, obs) for action, obs in zip(actions, seen, strict=True))


@pytest.mark.parametrize("id", IDS)
def test_pictures_show_the_state(id: str) -> None:
    env = make(NATIVE_OF[id], 2, seed=0, render=True)
    before = env.render(0)
    for _ in range(8):
        env.step(torch.zeros(2, 1) - 1 if isinstance(env.single_action_space, gym.spaces.Box) else torch.tensor([0, 0]))
    assert before.dtype == np.uint8
    assert before.shape == env.render(0).shape
    assert (before != env.render(0)).any()


@pytest.mark.parametrize("id", IDS)
def test_a_step_is_one_graph(id: str) -> None:
    torch.compiler.reset()  # it stops at eight compiled forms of a function in one process
    env, twin = native(id, 5), native(id, 5)
    action = random_actions(env.single_action_space, 5, np.random.default_rng(3))
    graph = torch.compile(advance, fullgraph=True, backend="eager")
    _, ours = graph(env.game, env.world, action, env.limit, None)
    assert torch.equal(ours.next_obs, twin.move(action).next_obs)
