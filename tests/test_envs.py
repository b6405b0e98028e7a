"""`make`, spaces, seeds, time limits, tables and pictures."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit, TransformReward

from gymnast import envs
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.envs.factory import NATIVE_FROM
from gymnast.envs.rows.processes import WorkersEnv
from gymnast.envs.rows.serial import SerialEnv
from gymnast.envs.rows.vector import VectorAdapter
from tests.conformance import check_env, random_actions
from tests.scripted import Scripted


class Fixed(gym.Env[Any, Any]):
    """Samples observations from a space, keeps the actions it was given."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], *, last: int = 4) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.actions: list[Any] = []
        self.last, self.time = last, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.actions.append(action)
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == self.last, False, {}


def fixed(observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> Fixed:
    return Fixed(copy.deepcopy(observation_space), action_space)


OBSERVATIONS = {
    "float64": (spaces.Box(-1, 1, (3,), np.float64), torch.float32, (2, 3)),
    "float32": (spaces.Box(-1, 1, (3, 2), np.float32), torch.float32, (2, 3, 2)),
    "scalar": (spaces.Box(-1, 1, (), np.float32), torch.float32, (2,)),
    "uint8": (spaces.Box(0, 255, (4, 4, 1), np.uint8), torch.uint8, (2, 4, 4, 1)),
    "uint16": (spaces.Box(0, 60_000, (2,), np.uint16), torch.int32, (2, 2)),
    "discrete": (spaces.Discrete(5, start=3), torch.int64, (2,)),
    "multi-discrete": (spaces.MultiDiscrete([3, 4]), torch.int64, (2, 2)),
    "multi-binary": (spaces.MultiBinary(6), torch.int8, (2, 6)),
}


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observation_spaces(name: str) -> None:
    space, dtype, shape = OBSERVATIONS[name]
    env = envs.make(partial(fixed, space, spaces.Discrete(2)), 2)
    obs = env.reset()
    assert obs.dtype == dtype
    assert obs.shape == shape
    for row in range(2):
        space.seed(env.rows[row].seed)
        np.testing.assert_array_equal(obs[row].numpy(), np.asarray(space.sample()).astype(obs.numpy().dtype))


def test_nested_observations_become_dicts() -> None:
    space = spaces.Dict(
        {"pair": spaces.Tuple([spaces.Discrete(4), spaces.Box(0, 1, (2,))]), "flag": spaces.MultiBinary(1)}
    )
    env = envs.make(partial(fixed, space, spaces.Discrete(2)), 3)
    obs = env.reset()
    assert obs["pair"]["0"].shape == (3,)
    assert obs["pair"]["1"].shape == (3, 2)
    assert obs["flag"].shape == (3, 1)
    check_env(env)


def test_blackjack_tuple_of_discrete() -> None:
    env = envs.make("Blackjack-v1", 2)
    obs = env.reset()
    assert list(obs) == ["0", "1", "2"]
    assert all(part.dtype == torch.int64 and part.shape == (2,) for part in obs.values())


ACTIONS = {
    "discrete with a start": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(4),
    "box": spaces.Box(-2, 2, (3,), np.float32),
    "box float64": spaces.Box(-2, 2, (1,), np.float64),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_reach_the_env_as_its_space_says(name: str) -> None:
    space = ACTIONS[name]
    made: list[Fixed] = []

    def build() -> Fixed:
        made.append(Fixed(spaces.Discrete(2), space))
        return made[-1]

    env = envs.make(build, 2)
    env.reset()
    batch = random_actions(space, 2, np.random.default_rng(0))
    before = batch.clone()
    env.step(batch)
    for row in range(2):
        action = made[row].actions[0]
        np.testing.assert_array_equal(action, before[row].numpy())
        assert isinstance(action, int) if isinstance(space, spaces.Discrete) else action.dtype == space.dtype
    batch.fill_(1)  # the caller's tensor is not the env's
    for row in range(2):
        np.testing.assert_array_equal(made[row].actions[0], before[row].numpy())


@pytest.mark.parametrize("vectorization", ["serial", "vector"])
def test_unsupported_spaces_are_refused_with_what_would_fit(vectorization: str) -> None:
    text, fine = spaces.Text(5), spaces.Discrete(2)

    def make(observations: gym.Space[Any], actions: gym.Space[Any]) -> Env:
        build = partial(fixed, observations, actions)
        if vectorization == "serial":
            return envs.make(build)
        mode = gym.vector.AutoresetMode.DISABLED
        return envs.make(gym.vector.SyncVectorEnv([build], autoreset_mode=mode))

    with pytest.raises(ValueError, match=r"observations in a Text space.*TransformObservation"):
        make(text, fine)
    with pytest.raises(ValueError, match=r"actions in a Tuple space.*TransformAction"):
        make(fine, spaces.Tuple([fine, fine]))


def test_an_observation_of_the_wrong_shape_is_refused() -> None:
    class Wrong(Fixed):
        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            return np.zeros(1, np.float32), {}

    env = envs.make(lambda: Wrong(spaces.Box(-1, 1, (3,)), spaces.Discrete(2)))
    with pytest.raises(EnvError, match=r"shape \(1,\) but its space says \(3,\)"):
        env.reset()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "CartPole-v7"}, "unknown environment 'CartPole-v7'; did you mean CartPole-v1?"),
        ({"id": "Pnog"}, "did you mean Pong?"),
        ({"id": "no_such_module:Env-v0"}, "no module no_such_module; use ./file.py:NAME for a file"),
        ({"id": "CartPole-v1", "device": "gpu"}, "device 'gpu' cannot be used"),
        ({"id": "CartPole-v1", "seed": -1}, "seed must be >= 0, got -1"),
        ({"id": "CartPole-v1", "num_envs": 0}, "num_envs must be >= 1, got 0"),
        ({"id": "CartPole-v1", "max_episode_steps": 0}, "max_episode_steps must be >= 1, got 0"),
        ({"id": "CartPole-v1", "vectorization": "fork"}, "auto, serial, async, native, got 'fork'"),
        ({"id": "CartPole-v1", "options": {"colour": 1}}, "CartPole-v1 cannot be made: .*colour"),
        ({"id": "FrozenLake-v1", "options": {"map_name": "9x9"}}, "FrozenLake-v1 cannot be made"),
        ({"id": "Pendulum-v1", "vectorization": "native"}, "Pendulum-v1 has no vector entry point"),
        ({"id": "Pong", "vectorization": "async"}, "vectorization of Atari games must be auto or native"),
        ({"id": lambda: 3}, "the function returned an int, not a gymnasium.Env"),
        ({"id": "gymnast/Bandit-v0", "render": True}, "gymnast/Bandit-v0 cannot be made: .*nothing to show"),
        ({"id": Scripted, "render": True}, "Scripted cannot render frames"),
    ],
)
def test_bad_arguments_are_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        envs.make(**arguments)
    assert "\n" not in str(caught.value)


def test_ids() -> None:
    assert envs.make("CartPole").id == "CartPole-v1"  # the highest version
    assert envs.make("gymnasium.envs.classic_control:MountainCar-v0").id == "MountainCar-v0"
    assert envs.make(Scripted).id == "Scripted"
    assert envs.make("gymnast/Catch-v0", 2).num_envs == 2
    assert envs.make("CartPole-v1", NATIVE_FROM["CartPole-v1"] - 1).__class__ is SerialEnv
    assert envs.make("CartPole-v1", NATIVE_FROM["CartPole-v1"]).__class__ is VectorAdapter


def test_an_id_of_someone_else_is_no_atari_game() -> None:
    gym.register("Tennis-v5", entry_point=Scripted)
    try:
        assert isinstance(envs.make("Tennis-v5"), SerialEnv)
    finally:
        del gym.registry["Tennis-v5"]


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "FrozenLake-v1", "Taxi-v4", "Blackjack-v1"])
def test_conformance_of_gymnasium_envs(id: str) -> None:
    check_env(envs.make(id, 2, vectorization="serial"), steps=60)


@pytest.mark.parametrize("id", ["gymnast/Catch-v0", "gymnast/Chain-v0", "gymnast/Bandit-v0"])
def test_conformance_of_our_own_envs(id: str) -> None:
    check_env(envs.make(id, 3))


def test_conformance_of_the_native_cartpole() -> None:
    check_env(envs.make("CartPole-v1", 4, vectorization="native"), steps=200)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("vectorization", ["serial", "native"])
def test_conformance_on_a_gpu(vectorization: str) -> None:
    check_env(envs.make("CartPole-v1", 4, vectorization=vectorization, device="cuda"), steps=200)


def test_a_step_equals_gymnasiums_own() -> None:
    """Every number of a run through `make` equals a plain Gymnasium loop with the same seed, time limit included."""
    env = envs.make("CartPole-v1", 2, seed=5, max_episode_steps=17)
    env.reset()
    plain = [gym.make("CartPole-v1", max_episode_steps=17) for _ in range(2)]
    current = [single.reset(seed=row.seed)[0] for single, row in zip(plain, env.rows, strict=True)]
    rng = np.random.default_rng(0)
    ends = set()
    for _ in range(200):
        np.testing.assert_array_equal(env.obs.numpy(), np.array(current))
        action = rng.integers(2, size=2)
        step = env.step(torch.from_numpy(action))
        for row, single in enumerate(plain):
            obs, reward, terminated, truncated, _ = single.step(action[row])
            np.testing.assert_array_equal(step.next_obs[row].numpy(), obs)
            assert float(step.reward[row]) == reward
            assert (bool(step.terminated[row]), bool(step.truncated[row])) == (terminated, truncated)
            ends.add((terminated, truncated))
            current[row] = single.reset()[0] if terminated or truncated else obs
    assert {(True, False), (False, True)} <= ends  # both kinds were seen


def test_a_time_limit_under_another_wrapper_counts_too() -> None:
    env = envs.make(lambda: TransformReward(TimeLimit(gym.make("Pendulum-v1"), 5), lambda reward: reward))
    env.reset()
    assert [env.step(torch.zeros(1, 1)).num_ended for _ in range(5)] == [0, 0, 0, 0, 1]


def test_returns_are_added_in_float64_and_rewards_are_unclipped() -> None:
    class Fine(Fixed):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, _, terminated, truncated, info = super().step(action)
            return obs, np.float64(1e8 if self.time == 1 else 0.25), terminated, truncated, info

    env = envs.make(lambda: Fine(spaces.Discrete(2), spaces.Discrete(2), last=3))
    env.reset()
    steps = [env.step(torch.zeros(1, dtype=torch.int64)) for _ in range(3)]
    assert [step.reward.tolist() for step in steps] == [[1e8], [0.25], [0.25]]
    assert steps[0].episode_return is None
    assert steps[2].episode_return.tolist() == [1e8 + 0.5]  # float32 would have lost it
    assert steps[2].episode_length.tolist() == [3]


def test_seeds() -> None:
    one, same, other = (envs.make("CartPole-v1", 2, seed=seed).reset() for seed in (1, np.random.SeedSequence(1), 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    env = envs.make("CartPole-v1", 2, seed=1)
    assert not torch.equal(env.reset(), env.reset())  # another episode, not the same one again


def episodes_by_number(env: Env, seeds: list[int], *, count: int) -> dict[int, tuple[list[float], int]]:
    """First observation and length of the first episodes, pushing the cart to the right."""
    first: dict[int, list[float]] = {}
    ended: dict[int, tuple[list[float], int]] = {}
    obs = env.reset(episode_seeds=seeds)
    first.update({number: obs[row].tolist() for row, number in enumerate(env.episode)})
    while any(number not in ended for number in range(count)):
        before = env.episode
        step = env.step(torch.ones(env.num_envs, dtype=torch.int64))
        for row in range(env.num_envs):
            if step.ended[row]:
                ended[before[row]] = (first[before[row]], int(step.episode_length[row]))
                first[env.episode[row]] = step.obs[row].tolist()
    env.close()
    return {number: ended[number] for number in range(count)}


def test_seeds_belong_to_episodes_not_to_rows() -> None:
    seeds = list(range(100, 112))
    one = episodes_by_number(envs.make("CartPole-v1", 1), seeds, count=12)
    assert one == episodes_by_number(envs.make("CartPole-v1", 5, seed=9), seeds, count=12)
    plain = gym.make("CartPole-v1")
    assert [first for first, _ in one.values()] == [plain.reset(seed=seed)[0].tolist() for seed in seeds]


def test_native_envs_refuse_episode_seeds() -> None:
    with pytest.raises(ValueError, match="cannot seed individual episodes"):
        envs.make("CartPole-v1", 2, vectorization="native").reset(episode_seeds=[1])


@pytest.mark.parametrize("id", ["FrozenLake-v1", "Taxi-v4", "CliffWalking-v1", "gymnast/Chain-v0"])
def test_the_transition_table_is_the_env(id: str) -> None:
    env = envs.make(id)
    table = env.transition_table()
    assert table is not None
    np.testing.assert_allclose(table.probability.sum(-1), 1.0)
    np.testing.assert_allclose(table.initial.sum(), 1.0)
    assert table.max_episode_steps == gym.spec(id).max_episode_steps
    state = int(env.reset()[0])
    assert table.initial[state] > 0
    rng = np.random.default_rng(0)
    for _ in range(300):
        action = int(rng.integers(env.single_action_space.n))
        step = env.step(torch.tensor([action]))
        outcomes = zip(
            table.probability[state, action],
            table.next_state[state, action],
            table.reward[state, action],
            table.terminated[state, action],
            strict=True,
        )
        seen = (int(step.next_obs[0]), float(step.reward[0]), bool(step.terminated[0]))
        possible = [(int(s), float(np.float32(r)), bool(t)) for p, s, r, t in outcomes if p > 0]
        assert seen in possible
        state = int(step.obs[0])


def test_outcomes_stand_in_the_order_in_which_they_are_drawn() -> None:
    table = envs.make("FrozenLake-v1").transition_table()
    outcomes = gym.make("FrozenLake-v1").unwrapped.P[6][2]
    assert table.next_state[6, 2].tolist() == [outcome[1] for outcome in outcomes]


@pytest.mark.parametrize(
    "build",
    [
        partial(gym.make, "CartPole-v1"),
        partial(gym.make, "Taxi-v4", fickle_passenger=True),
        lambda: TransformReward(gym.make("Taxi-v4"), lambda reward: 2 * reward),
    ],
)
def test_no_table_where_it_would_lie(build: Any) -> None:
    assert envs.make(build).transition_table() is None


def test_taxi_gives_its_action_mask() -> None:
    env = envs.make("Taxi-v4", 2)
    env.reset()
    taxi = gym.make("Taxi-v4").unwrapped
    for _ in range(20):
        action = torch.tensor([int(np.flatnonzero(mask)[-1]) for mask in env.action_mask])
        step = env.step(action)
        for obs, masks in ((step.obs, step.action_mask), (step.next_obs, step.next_action_mask)):
            assert masks.tolist() == [taxi.action_mask(int(state)).astype(bool).tolist() for state in obs]


@pytest.mark.parametrize("id", ["CartPole-v1", "FrozenLake-v1", "gymnast/Catch-v0"])
def test_frames_without_a_display(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    env = envs.make(id, 2, render=True)
    env.reset()
    frame = env.render(1)
    assert frame.dtype == np.uint8
    assert frame.ndim == 3
    assert frame.shape[2] == 3
    env.close()


def test_after_an_end_the_final_frame_is_shown() -> None:
    env = envs.make("gymnast/Catch-v0", 2, render=True)
    env.reset()
    while not (step := env.step(torch.ones(2, dtype=torch.int64))).num_ended:
        pass
    final, first = env.render(0), None
    ball = [245, 161, 66]
    assert final[-1].tolist().count(ball) + (step.reward[0] > 0) >= 1  # the ball has landed
    env.step(torch.ones(2, dtype=torch.int64))
    first = env.render(0)
    assert not np.array_equal(final, first)


def test_render_needs_render() -> None:
    env = envs.make("CartPole-v1")
    env.reset()
    with pytest.raises(ValueError, match="CartPole-v1 was not made with render=True"):
        env.render()


def test_a_vector_env_brings_its_own_settings() -> None:
    vector = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(ValueError, match="cannot be set for a VectorEnv"):
        envs.make(vector, 3)
    assert envs.make(vector, 2).id == "CartPole-v1"


def test_all_vectorizations_are_reachable() -> None:
    kinds = {"serial": SerialEnv, "native": VectorAdapter}
    for name, kind in kinds.items():
        assert isinstance(envs.make("CartPole-v1", 2, vectorization=name), kind)
    env = envs.make("gymnast/Catch-v0", 2, vectorization="async")
    assert isinstance(env, WorkersEnv)
    env.close()
