"""Snapshot, run, restore, run again: the same steps, in the same env and in a fresh one."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import PassiveEnvChecker, TimeLimit, TransformObservation

from gymnast import envs
from gymnast.envs.env import Env
from gymnast.envs.rows import row as row_module
from tests.conformance import fields, random_actions, same

CLASSIC = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1")
TOY = ("Blackjack-v1", "FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1", "Taxi-v4")
OWN = ("gymnast/Catch-v0", "gymnast/Chain-v0", "gymnast/Bandit-v0")


class Walk(gym.Env[Any, Any]):
    """A random walk that draws from its generator in every step and has no snapshot: it is replayed."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.place = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2)
        return self.place.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = self.place + action + self.np_random.normal(size=2)
        return self.place.copy(), float(self.place.sum()), bool(self.np_random.random() < 0.1), False, {}


class Forgetful(Walk):
    """Not what its seed says: it draws from a generator of its own."""

    own = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.own.normal(size=2)
        return self.place.copy(), {}


def wrapped_taxi() -> gym.Env[Any, Any]:
    """A wrapper that nobody knows here: replayed."""
    return TransformObservation(gym.make("Taxi-v4"), lambda obs: obs, spaces.Discrete(500))


def run(env: Env, count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [fields(env.step(random_actions(env.single_action_space, env.num_envs, rng))) for _ in range(count)]


def assert_same_run(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    for left, right in zip(one, other, strict=True):
        for name, value in left.items():
            equal = same(value, right[name]) if isinstance(value, (dict, torch.Tensor)) else value == right[name]
            assert equal, name


def check_resume(make: Any, *, before: int = 57, after: int = 60) -> None:
    env = make()
    env.reset()
    run(env, before, seed=1)
    snapshot = env.snapshot()
    obs, start, mask, episode = env.obs, env.start, env.action_mask, env.episode
    future = run(env, after, seed=2)
    assert any(step["num_ended"] for step in future), "the test is too short to see an episode end"
    fresh = make()  # never reset
    for restored in (env, fresh):
        restored.restore(snapshot)
        assert same(restored.obs, obs)
        assert torch.equal(restored.start, start)
        assert (restored.action_mask is None) == (mask is None)
        assert restored.episode == episode
        assert_same_run(future, run(restored, after, seed=2))
        restored.close()


@pytest.mark.parametrize("id", [*TOY, *OWN])
def test_toy_text_and_our_own(id: str) -> None:
    check_resume(partial(envs.make, id, 2, seed=3, max_episode_steps=23))


@pytest.mark.parametrize("id", CLASSIC)
def test_classic_control(id: str) -> None:
    check_resume(partial(envs.make, id, 2, seed=3, max_episode_steps=41))


@pytest.mark.parametrize(
    "options", [{"fickle_passenger": True, "is_rainy": True}, {"fickle_passenger": True}], ids=["rainy", "fickle"]
)
def test_options_with_hidden_state(options: dict[str, Any]) -> None:
    check_resume(partial(envs.make, "Taxi-v4", 2, seed=3, max_episode_steps=23, options=options))


def test_the_native_cartpole() -> None:
    check_resume(partial(envs.make, "CartPole-v1", 4, vectorization="native"))


def test_the_counter_of_an_inner_time_limit() -> None:
    def build() -> gym.Env[Any, Any]:
        return PassiveEnvChecker(TimeLimit(gym.make("CartPole-v1", disable_env_checker=True), 7))

    assert envs.make(build).rows[0].method == "state"
    check_resume(partial(envs.make, build, 2))


@pytest.mark.parametrize("build", [Walk, wrapped_taxi])
def test_seeded_replay(build: Any) -> None:
    env = envs.make(build, 2)
    assert env.exact_resume
    assert env.rows[0].method == "replay"
    check_resume(partial(envs.make, build, 2, seed=4, max_episode_steps=23))


@pytest.mark.slow
def test_worker_processes() -> None:
    check_resume(partial(envs.make, "Blackjack-v1", 2, vectorization="async"))
    check_resume(partial(envs.make, Walk, 2, vectorization="async"))


def test_a_replay_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "RESEED_AFTER", 50)
    make = partial(envs.make, Walk, 2, seed=4, max_episode_steps=10)
    check_resume(make, before=333)
    env = make()
    env.reset()
    run(env, 1000, seed=0)
    assert env.rows[0].reseeds > 10
    for state in env.snapshot()["rows"]:
        assert len(state["actions"]) < 50 + 10


def test_envs_with_a_state_are_never_reseeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "RESEED_AFTER", 50)
    env = envs.make("Blackjack-v1")
    env.reset()
    run(env, 200, seed=0)
    assert env.rows[0].reseeds == 1


def test_a_replay_that_leads_elsewhere_is_refused_by_name() -> None:
    env = envs.make(Forgetful)
    env.reset()
    run(env, 5, seed=0)
    with pytest.raises(ValueError, match="Forgetful cannot be restored: the same seed and actions led to a different"):
        env.restore(env.snapshot())


def test_a_nondeterministic_env_is_refused_by_name() -> None:
    gym.register("Dice-v0", entry_point=Walk, nondeterministic=True)
    try:
        env = envs.make("Dice-v0")
        env.reset()
        assert not env.exact_resume
        with pytest.raises(NotImplementedError, match="Dice-v0 cannot be restored exactly"):
            env.snapshot()
        with pytest.raises(NotImplementedError, match="Dice-v0 cannot be restored exactly"):
            env.restore({"rows": []})
    finally:
        del gym.registry["Dice-v0"]


def test_a_subclass_with_unknown_state_is_replayed_not_half_restored() -> None:
    class Other(gym.make("CartPole-v1").unwrapped.__class__):
        pass

    assert envs.make(Other).rows[0].method == "replay"
    assert envs.make("CartPole-v1").rows[0].method == "state"


@pytest.mark.parametrize("make", [partial(envs.make, "Taxi-v4", 2), partial(envs.make, Walk, 2)])
def test_snapshots_hold_tensors_and_plain_values_alone(make: Any, tmp_path: Any) -> None:
    env = make()
    env.reset()
    run(env, 30, seed=0)
    torch.save(env.snapshot(), tmp_path / "snapshot")
    loaded = torch.load(tmp_path / "snapshot", weights_only=True)
    future = run(env, 30, seed=1)
    env.restore(loaded)
    assert_same_run(future, run(env, 30, seed=1))
    json.dumps(loaded, default=lambda value: value.tolist() if isinstance(value, torch.Tensor) else 1 / 0)


def test_a_snapshot_of_other_sizes_or_kinds_is_refused() -> None:
    two, three, walk = envs.make("Taxi-v4", 2), envs.make("Taxi-v4", 3), envs.make(Walk, 2)
    for env in (two, three, walk):
        env.reset()
    with pytest.raises(ValueError, match="a snapshot of 2 environments cannot be restored with num_envs=3"):
        three.restore(two.snapshot())
    with pytest.raises(ValueError, match="a snapshot made by state cannot restore an environment that uses replay"):
        walk.restore(two.snapshot())


def test_episode_seeds_go_on_after_a_restore() -> None:
    env = envs.make("Blackjack-v1", 2)
    env.reset(episode_seeds=list(range(1000)))
    run(env, 20, seed=0)
    snapshot = env.snapshot()
    future = run(env, 40, seed=1)
    numbers = env.episode
    fresh = envs.make("Blackjack-v1", 2, seed=77)
    fresh.restore(snapshot)
    assert_same_run(future, run(fresh, 40, seed=1))
    assert fresh.episode == numbers
