"""MuJoCo's environments as rows: their observations, their exact state, and the extra that they need."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
import torch

from gymnast import envs
from gymnast.cli.main import main
from gymnast.envs.rows import mujoco_state, snapshot
from gymnast.training.train import resume, train
from tests.test_envs_snapshot import assert_same_run, check_resume, run
from tests.test_resume import config, last_state, options, same

mujoco = pytest.importorskip("mujoco")
LOCOMOTION = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5")
OTHERS = (
    "Swimmer-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "Pusher-v5",
    "HalfCheetah-v4",
    "Humanoid-v4",
    "Reacher-v4",
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its warnings into a file of the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("id", [*LOCOMOTION, *OTHERS])
def test_the_state_is_exact(id: str) -> None:
    check_resume(partial(envs.make, id, 2, seed=3, max_episode_steps=41))


@pytest.mark.parametrize("id", LOCOMOTION)
def test_a_thousand_steps_after_a_snapshot_are_the_same_bits(id: str) -> None:
    make = partial(envs.make, id, seed=1)
    env = make()
    assert env.rows[0].method == "state"
    env.reset()
    run(env, 300, seed=1)
    taken = env.snapshot()
    future = run(env, 1_000, seed=2)
    fresh = make()
    fresh.restore(taken)
    assert_same_run(future, run(fresh, 1_000, seed=2))


@pytest.mark.slow
def test_in_worker_processes() -> None:
    check_resume(partial(envs.make, "Ant-v5", 2, seed=3, max_episode_steps=41, vectorization="async"))


def test_places_are_part_of_the_state() -> None:
    """Joints alone are not enough: Ant takes its speed from where its torso was one substep before."""
    env = envs.make("Ant-v5", seed=0)
    env.reset()
    run(env, 20, seed=1)
    taken = env.snapshot()
    base = env.rows[0].env.unwrapped
    before = base.data.body(1).xpos.copy()
    mujoco.mj_kinematics(base.model, base.data)
    assert not np.array_equal(before, base.data.body(1).xpos)
    env.restore(taken)
    np.testing.assert_array_equal(before, base.data.body(1).xpos)


def test_a_snapshot_by_replay_of_an_earlier_build_is_replayed() -> None:
    make = partial(envs.make, "Hopper-v5", 2, seed=4)
    with patch.object(mujoco_state, "known", lambda env: False):
        earlier = make()
        earlier.reset()
        run(earlier, 100, seed=1)
        assert earlier.rows[0].method == "replay"
        taken = earlier.snapshot()
        future = run(earlier, 100, seed=2)
    now = make()
    now.restore(taken)
    assert now.rows[0].method == "state"
    assert_same_run(future, run(now, 100, seed=2))


def test_a_state_of_another_model_is_refused() -> None:
    cheetah, hopper = gym.make("HalfCheetah-v5"), gym.make("Hopper-v5")
    for env in (cheetah, hopper):
        env.reset()
    size = snapshot.take(cheetah)["state"]["integration"].size
    with pytest.raises(ValueError, match=f"a state of {size} numbers cannot be restored in HopperEnv, whose state"):
        snapshot.put_back(hopper, snapshot.take(cheetah))


def test_a_subclass_is_replayed() -> None:
    class Other(gym.make("Hopper-v5").unwrapped.__class__):  # type: ignore[misc]
        """It may have any further state."""

    assert envs.make(Other).rows[0].method == "replay"


def test_observations_are_rounded_to_float32() -> None:
    env, own = envs.make("HalfCheetah-v5", seed=0), gym.make("HalfCheetah-v5")
    obs = env.reset()
    seen, _ = own.reset(seed=env.rows[0].seed)
    assert isinstance(obs, torch.Tensor)
    assert (obs.dtype, seen.dtype) == (torch.float32, np.float64)
    np.testing.assert_array_equal(obs[0].numpy(), seen.astype(np.float32))
    action = own.action_space.sample()
    step = env.step(torch.from_numpy(action)[None])
    seen, reward, *_ = own.step(action)
    np.testing.assert_array_equal(step.obs[0].numpy(), seen.astype(np.float32))
    assert step.reward[0] == np.float32(reward)


@pytest.mark.slow
def test_a_run_of_sac_resumes_exactly(tmp_path: Any) -> None:
    small = {"hidden_sizes": (8,), "batch_size": 8, "replay_size": 400, "learning_starts": 40}
    chosen = config("sac", small)
    how: dict[str, Any] = {"num_envs": 2, "max_episode_steps": 60, "eval_every": 90, "eval_episodes": 1}
    whole = train("sac", options(tmp_path / "a", "Ant-v5", steps=200, **how), chosen)
    half = train("sac", options(tmp_path / "b", "Ant-v5", steps=100, **how), chosen)
    rest = resume(half.path, steps=200)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    same(last_state(whole.path), last_state(rest.path))


def test_without_mujoco_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    assert main(["train", "ppo", "--env", "HalfCheetah-v5", "--steps", "10"]) == 2
    assert 'environment HalfCheetah-v5 needs mujoco: pip install "gymnast[mujoco]"' in capsys.readouterr().err
