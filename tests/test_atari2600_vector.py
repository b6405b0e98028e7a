"""The vector environment of the console beside ale-py's, and what it promises itself."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ale_py.vector_env import AtariVectorEnv as AleVectorEnv

from gymnast import envs
from gymnast.envs.atari2600.observation import taps
from gymnast.envs.atari2600.palette import GRAY, RGB
from gymnast.envs.atari2600.vector import AtariVectorEnv


@pytest.mark.parametrize(
    ("game", "fire", "sticky", "frames"), [("breakout", True, 0.25, 108_000), ("pong", False, 0.0, 90)]
)
def test_a_stream_of_steps_is_that_of_ale_py(game: str, fire: bool, sticky: float, frames: int) -> None:
    shared: dict[str, Any] = {"repeat_action_probability": sticky, "max_num_frames_per_episode": frames}
    theirs = AleVectorEnv(game, 2, reward_clipping=False, use_fire_reset=fire, num_threads=1, **shared)
    ours = AtariVectorEnv(game, 2, fire_reset=fire, sticky=sticky, noop_max=29, max_frames=frames, threads=1)
    (obs, _), (own, _) = theirs.reset(seed=5), ours.reset(seed=5)
    assert (obs == own).all()
    rng, ends = np.random.default_rng(0), 0
    for _ in range(200):
        action = rng.integers(ours.single_action_space.n, size=2)
        *results, info = theirs.step(action)
        *own_results, own_info = ours.step(action)
        for expected, given in zip(results, own_results, strict=True):
            np.testing.assert_array_equal(given, expected)
        for name in ("lives", "episode_frame_number"):
            np.testing.assert_array_equal(own_info[name], info[name])
        ended = results[2] | results[3]
        if ended.any():
            ends += 1
            seeds = np.full(int(ended.sum()), -1)
            obs, _ = theirs.reset(seed=seeds, options={"reset_mask": ended.copy()})
            np.testing.assert_array_equal(ours.reset(options={"reset_mask": ended})[0], obs)
    assert ends > 0


def played(env: AtariVectorEnv, steps: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [env.step(rng.integers(env.single_action_space.n, size=env.num_envs))[0] for _ in range(steps)]


def test_threads_and_numbers_of_rows_change_nothing() -> None:
    one, three = AtariVectorEnv("pong", 3, threads=1), AtariVectorEnv("pong", 3, threads=3)
    np.testing.assert_array_equal(one.reset(seed=1)[0], three.reset(seed=1)[0])
    np.testing.assert_array_equal(played(one, 10), played(three, 10))
    three.close()


def test_a_restored_snapshot_goes_on_equally() -> None:
    env, other = AtariVectorEnv("breakout", 2, sticky=0.25), AtariVectorEnv("breakout", 2, sticky=0.25)
    env.reset(seed=1)
    played(env, 20)
    other.restore(env.snapshot())
    np.testing.assert_array_equal(played(env, 30), played(other, 30))
    with pytest.raises(ValueError, match="the snapshot has 2 rows, this environment 1"):
        AtariVectorEnv("breakout", 1).restore(env.snapshot())


def test_a_masked_reset_leaves_other_rows() -> None:
    env = AtariVectorEnv("pong", 2)
    env.reset(seed=1)
    played(env, 3)
    before, *_, then = env.step(np.array([0, 0]))
    obs, info = env.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(obs[1], before[1])
    assert info["episode_frame_number"][1] == then["episode_frame_number"][1]
    assert not obs[0, :3].any()


def test_other_observations_and_pictures() -> None:
    ram = AtariVectorEnv("pong", 2, observation="ram", noop_max=0)
    rgb = AtariVectorEnv("pong", 2, observation="rgb", noop_max=0, render_mode="rgb_array")
    gray = AtariVectorEnv("pong", 2, noop_max=0)
    assert ram.reset(seed=1)[0].shape == (2, 128)
    assert gray.reset(seed=1)[0].shape == (2, 4, 84, 84)
    np.testing.assert_array_equal(rgb.reset(seed=1)[0], np.stack(rgb.render()))
    played(rgb, 5)
    np.testing.assert_array_equal(played(ram, 5)[-1], rgb.ram())
    assert GRAY[0x0E] == RGB[0x0E, 0] == 236


def test_an_area_is_averaged() -> None:
    where, weights = taps(210, 84)
    assert where["first"][:3].tolist() == [0, 2, 5]
    assert where["count"][:3].tolist() == [3, 3, 3]
    np.testing.assert_allclose(weights[0, :3], [0.4, 0.4, 0.2], rtol=1e-6)
    np.testing.assert_allclose(taps(160, 84)[1].sum(1), 1.0, rtol=1e-6)


def test_the_adapter_resumes_exactly() -> None:
    env = envs.make("gymnast/Atari-v1", 2, seed=3, options={"game": "pong"})
    assert env.exact_resume
    assert env.single_observation_space.shape == (4, 84, 84)
    env.reset()
    env.step(torch.tensor([1, 2]))
    kept = env.snapshot()
    first = [torch.as_tensor(env.step(torch.tensor([0, 3])).obs) for _ in range(5)]
    env.restore(kept)
    assert all(torch.equal(torch.as_tensor(env.step(torch.tensor([0, 3])).obs), obs) for obs in first)


def test_a_single_environment_plays_the_same_episodes() -> None:
    registered = gym.make("gymnast/Atari-v1", game="pong", render_mode="rgb_array")
    rows = AtariVectorEnv("pong", 1)
    np.testing.assert_array_equal(registered.reset(seed=3)[0], rows.reset(seed=3)[0][0])
    np.testing.assert_array_equal(registered.step(2)[0], rows.step(np.array([2]))[0][0])
    picture: Any = registered.render()
    assert picture.shape == (210, 160, 3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"game": "pongg"}, "game 'pongg' is not one of the 57 known; did you mean pong?"),
        ({"observation": "grey"}, "observation must be one of gray, rgb, ram, got 'grey'"),
        ({"sticky": 1.0}, "sticky must be at least 0 and below 1, got 1.0"),
        ({"mode": 7}, "mode of pong must be one of 0, 1, got 7"),
        ({"difficulty": 4}, "difficulty of pong must be one of 0, 1, 2, 3, got 4"),
        ({"frame_skip": 0}, "frame_skip must be >= 1, got 0"),
        ({"noop_max": -1}, "noop_max must be >= 0, got -1"),
        ({"render_mode": "human"}, "render_mode must be None or rgb_array, got 'human'"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("?", r"\?")):
        AtariVectorEnv(**options)


def test_wrong_actions_are_refused() -> None:
    env = AtariVectorEnv("pong", 2)
    with pytest.raises(ValueError, match="step before the first reset"):
        env.step(np.zeros(2, np.int64))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must be 2 of 0\.\.5, got \[0, 6\]"):
        env.step(np.array([0, 6]))
