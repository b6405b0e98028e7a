"""Catch, Chain, Memory and Bandit: their rules, their known values, and that snapshots bring back the same future."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from gymnast.envs.small.bandit import Bandit
from gymnast.envs.small.catch import Catch
from gymnast.envs.small.chain import Chain
from gymnast.envs.small.memory import Memory


@pytest.mark.filterwarnings("ignore:.*not having a spec.*")
@pytest.mark.parametrize(
    "env",
    [
        Catch(),
        Catch(5, 3, render_mode="rgb_array"),
        Chain(),
        Chain(9, render_mode="rgb_array"),
        Memory(),
        Memory(2, 3, render_mode="rgb_array"),
        Bandit(),
        Bandit("bernoulli", 3),
    ],
)
def test_gymnasium_accepts_it(env):
    check_env(env)


@pytest.mark.parametrize("make", [Catch, Chain, Memory, Bandit, lambda: Bandit("bernoulli", 4)])
def test_a_snapshot_brings_back_the_same_future(make):
    env, other = make(), make()
    rng = np.random.default_rng(0)
    env.reset(seed=3)
    for _ in range(3):
        env.step(2 if isinstance(env, Catch) else 1)
    snapshot = json.loads(json.dumps(env.snapshot()))
    other.reset(seed=99)
    other.restore(snapshot)
    for _ in range(40):
        action = int(rng.integers(env.action_space.n))
        mine, theirs = env.step(action), other.step(action)
        assert np.array_equal(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]
        if mine[2]:
            assert np.array_equal(env.reset()[0], other.reset()[0])


def test_catch_pays_at_the_bottom_alone():
    env = Catch()
    for seed in range(20):
        board, _ = env.reset(seed=seed)
        assert board.shape == (10, 5)
        assert board.dtype == np.float32
        ball, paddle = int(board[0].argmax()), int(board[9].argmax())
        assert paddle == 2
        boards, rewards = [board], []
        terminated = False
        while not terminated:
            action = 1 + int(np.sign(ball - paddle)) if seed % 2 else 0
            board, reward, terminated, truncated, _ = env.step(action)
            paddle = env.paddle
            assert not truncated
            boards.append(board)
            rewards.append(reward)
        assert rewards == [0.0] * 8 + [1.0 if paddle == ball else -1.0]
        if seed % 2:
            assert rewards[-1] == 1.0  # every column can be reached in nine moves
        for row, seen in enumerate(boards[:-1]):
            assert seen[row, ball] == 1.0  # boards handed out are not written again
            assert seen.sum() == 2.0


def test_chain_values_are_those_of_value_iteration():
    for gamma in (0.3, 0.9, 1.0):
        env = Chain(6)
        values = np.zeros(6)
        for _ in range(50):
            values = np.array(
                [
                    max(
                        reward + gamma * (not terminated) * values[target]
                        for ((_, target, reward, terminated),) in env.P[state].values()
                    )
                    for state in range(6)
                ]
            )
        assert np.allclose(env.optimal_values(gamma), values, atol=1e-12)
    assert Chain(5).optimal_values(0.5).tolist() == [0.1, 0.125, 0.25, 0.5, 1.0]


def test_chain_moves_by_its_table():
    env = Chain(3)
    assert env.reset(seed=0)[0] == 0
    assert env.step(1) == (1, 0.0, False, False, {})
    assert env.step(0) == (0, 0.0, False, False, {})
    assert env.step(0) == (0, 0.1, True, False, {})
    env.reset()
    assert [env.step(1)[:3] for _ in range(3)] == [(1, 0.0, False), (2, 0.0, False), (2, 1.0, True)]
    assert env.initial_state_distrib.tolist() == [1.0, 0.0, 0.0]


def test_memory_pays_for_the_cue_that_was_shown_once():
    env = Memory(delay=3, cues=4)
    cues = []
    for seed in range(40):
        seen, _ = env.reset(seed=seed)
        cue = int(seen[:4].argmax())
        assert seen.tolist() == [float(place == cue) for place in range(4)] + [0.0]
        for time in range(1, 4):
            seen, reward, terminated, truncated, _ = env.step((cue + time) % 4)  # what is done on the way is nothing
            assert seen.tolist() == [0.0] * 4 + [float(time == 3)]
            assert (reward, terminated, truncated) == (0.0, False, False)
        answer = cue if seed % 2 else (cue + 1) % 4
        assert env.step(answer)[1:4] == (1.0 if seed % 2 else -1.0, True, False)
        cues.append(cue)
    assert set(cues) == {0, 1, 2, 3}


def test_bandit_rewards_have_the_means_and_regret_is_the_gap():
    means = [0.2, 0.9, 0.5]
    for kind in ("gaussian", "bernoulli"):
        env = Bandit(kind, means=means)
        env.reset(seed=0)
        for arm in range(3):
            pulls = [env.step(arm) for _ in range(4000)]
            rewards = np.array([pull[1] for pull in pulls])
            assert abs(rewards.mean() - means[arm]) < 4 * rewards.std() / np.sqrt(4000)
            assert pulls[0][4]["regret"] == pytest.approx(0.9 - means[arm])
            if kind == "bernoulli":
                assert set(rewards) <= {0.0, 1.0}


def test_bandit_stays_the_same_bandit_under_any_reset_seed():
    env = Bandit(arms=4)
    before = env.means.copy()
    env.reset(seed=1)
    env.reset(seed=2)
    assert np.array_equal(env.means, before)
    assert np.array_equal(Bandit(arms=4).means, before)
    assert not np.array_equal(Bandit(arms=4, problem=1).means, before)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Catch(rows=1), "rows must be >= 2, got 1"),
        (lambda: Catch(columns=0), "columns must be >= 1, got 0"),
        (lambda: Chain(0), "length must be >= 1, got 0"),
        (lambda: Chain(render_mode="human"), "render_mode must be None or rgb_array, got 'human'"),
        (lambda: Memory(delay=0), "delay must be >= 1, got 0"),
        (lambda: Memory(cues=1), "cues must be >= 2, got 1"),
        (lambda: Memory(render_mode="human"), "render_mode must be None or rgb_array, got 'human'"),
        (lambda: Bandit("poisson"), "kind must be gaussian or bernoulli, got 'poisson'"),
        (lambda: Bandit(arms=0), "arms must be >= 1, got 0"),
        (lambda: Bandit(arms=2, means=[1.0]), "means must contain one number for each of the 2 arms, got 1"),
        (lambda: Bandit("bernoulli", means=[0.5, 1.5]), r"means must be between 0 and 1, got \[0.5, 1.5\]"),
        (lambda: Bandit(means=[float("nan")]), r"means must be finite, got \[nan\]"),
    ],
)
def test_bad_options_fail_in_one_line(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_rendered_pictures_show_the_state():
    env = Catch(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (160, 80, 3)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3  # board, ball, paddle
    assert Chain(5, render_mode="rgb_array").render().shape == (32, 160, 3)
    assert isinstance(env.action_space, gym.spaces.Discrete)


def test_a_picture_shows_which_cue_it_is_and_later_only_the_way():
    env, first = Memory(3, render_mode="rgb_array"), {}
    for seed in range(10):
        env.reset(seed=seed)
        first.setdefault(env.cue, env.render())
        env.step(0)
        assert (env.render()[:, :32] == 60).all()
        assert (env.render()[:, 32:64] == (66, 135, 245)).all()
    assert first[0].shape == (32, 128, 3)
    assert (first[0][:, :32] != first[1][:, :32]).any()
    assert (first[0][:, 32:] == first[1][:, 32:]).all()
