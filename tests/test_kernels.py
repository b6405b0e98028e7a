"""The rules of one row, compiled for the CPU, are the rules of tensors: the same rows, bit for bit where discrete."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from gymnast.envs.kernels import engine as kernel_engine
from gymnast.envs.kernels import real
from gymnast.envs.kernels.engine import RowEngine
from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.engine import Engine, TensorEngine
from gymnast.envs.native.vector import NativeVectorEnv, _class_of
from gymnast.envs.native.world import Moved
from gymnast.envs.registration import NATIVE
from gymnast.envs.step import Obs

CPU = torch.device("cpu")
ROUNDED = {"CartPole", "Acrobot", "MountainCar", "MountainCarContinuous", "Pendulum"}
"""Games of real numbers, whose sines differ in the last bit."""
LONG = {
    "gymnast/MinAtar-Freeway-v1",
    "gymnast/Acrobot-v1",
    "gymnast/MountainCarContinuous-v0",
    "gymnast/CliffWalking-v1",
    "gymnast/CliffWalkingSlippery-v1",
}
"""Games in which 200 random steps end no episode."""
NEAR: dict[str, tuple[dict[str, float], float]] = {
    "gymnast/Acrobot-v1": ({"theta1": 2.0, "theta2": 0.5, "velocity1": 2.0}, 2),
    "gymnast/MountainCarContinuous-v0": ({"position": 0.44, "velocity": 0.05}, 1.0),
    "gymnast/CliffWalking-v1": ({"state": 35}, 2),
}
"""States and actions in these that end one."""
OPTIONS: dict[str, dict[str, Any]] = {
    "gymnast/CartPole-v1": {"sutton_barto_reward": True},
    "gymnast/MountainCar-v0": {"goal_velocity": 0.02},
    "gymnast/MountainCarContinuous-v0": {"goal_velocity": 0.01},
    "gymnast/Pendulum-v1": {"g": 3.7},
    "gymnast/FrozenLake-v1": {"desc": ["SFS", "HFG"], "success_rate": 0.7, "reward_schedule": (0.3, -0.7, -0.1)},
    "gymnast/Taxi-v4": {"is_rainy": True, "rainy_probability": 0.5},
    "gymnast/Blackjack-v1": {"sab": False, "natural": True},
    "gymnast/Catch-v0": {"rows": 4, "columns": 7},
    "gymnast/Memory-v0": {"delay": 3, "cues": 4},
    "gymnast/Chain-v0": {"length": 3, "left_reward": 0.3, "right_reward": -0.7},
    "gymnast/DeepSea-v0": {"size": 6, "randomise": True, "mapping_seed": 3},
    "gymnast/Maze-v0": {"map": "S.T/.#G/S..", "step_cost": 0.1, "observation": "board"},
    "gymnast/Reach-v0": {"size": 0.3, "tolerance": 0.1, "dimension": 3},
    "gymnast/MinAtar-Breakout-v1": {"sticky": 0.5, "full_actions": True},
    "gymnast/MinAtar-Asterix-v1": {"sticky": 0.5, "ramping": False, "full_actions": True},
    "gymnast/MinAtar-Freeway-v1": {"sticky": 0.5, "full_actions": True},
    "gymnast/MinAtar-SpaceInvaders-v1": {"sticky": 0.5, "ramping": False, "full_actions": True},
    "gymnast/MinAtar-Seaquest-v1": {"sticky": 0.5, "ramping": False},
}
"""Options other than the defaults, which are compared too."""
MORE = (
    "Pendulum",
    "MountainCarContinuous",
    "Taxi",
    "Chain",
    "Memory",
    "Reach",
    "Asterix",
    "Freeway",
    "SpaceInvaders",
    "Seaquest",
)
"""Games of which only `make long` compiles the form with options."""


def with_rows() -> list[str]:
    return [id for id, (game, _) in NATIVE.items() if _class_of(game)(device=CPU).row_rules() is not None]


def engines(id: str, rows: int, /, **options: Any) -> tuple[Engine, Engine, NativeVectorEnv]:
    """A game in both forms."""
    env = NativeVectorEnv(NATIVE[id][0], rows, max_episode_steps=NATIVE[id][1], **options)
    rules = env.game.row_rules()
    assert rules is not None
    both = (
        RowEngine(env.game, rules, rows, keep_final=True),
        TensorEngine(env.game, rows, compile=False, keep_final=True),
    )
    for engine in both:
        engine.begin(row_keys(3, rows, device=CPU))
    return *both, env


def parts(obs: Obs) -> list[Tensor]:
    return [obs] if isinstance(obs, Tensor) else [part for value in obs.values() for part in parts(value)]


def tensors(engine: Engine, moved: Moved) -> dict[str, Tensor]:
    """All that a step gives and keeps."""
    named = {name: value for name, value in moved._asdict().items() if isinstance(value, Tensor)}
    for name in ("obs", "next_obs"):
        named |= {f"{name} {at}": part for at, part in enumerate(parts(getattr(moved, name)))}
    world = engine.world._asdict()
    return named | world.pop("state") | {f"world {name}": value for name, value in world.items()}


def check(id: str, rows: int, steps: int, seeds: Tensor | None = None, /, **options: Any) -> int:
    """Random play in both forms, each step from the same state; how many episodes ended."""
    row, tensor, env = engines(id, rows, **options)
    rounded = type(env.game).__name__ in ROUNDED
    env.action_space.seed(0)
    ended = 0
    for _ in range(steps):
        box = isinstance(env.single_action_space, gym.spaces.Box)
        action = torch.as_tensor(env.action_space.sample(), dtype=torch.float32 if box else torch.int64)
        one = tensors(row, row.advance(action, env.limit, seeds))
        two = tensors(tensor, moved := tensor.advance(action, env.limit, seeds))
        assert one.keys() == two.keys()
        for name, value in two.items():
            assert one[name].dtype == value.dtype, name
            assert one[name].shape == value.shape, name
            if rounded and value.is_floating_point():
                torch.testing.assert_close(one[name], value, rtol=2e-6, atol=2e-6, msg=name)
            else:
                assert torch.equal(one[name], value), name
        if rounded:
            row.load(tensor.world)
        ended += int(moved.ended.sum())
    return ended


@pytest.mark.parametrize("id", with_rows())
def test_both_forms_of_a_game_are_one(id: str) -> None:
    ended = check(id, 40, 200)
    assert ended > 0 or id in LONG


@pytest.mark.parametrize(
    "id",
    [pytest.param(id, marks=pytest.mark.long if any(name in id for name in MORE) else ()) for id in sorted(OPTIONS)],
)
def test_both_forms_are_one_with_options(id: str) -> None:
    check(id, 20, 60, **OPTIONS[id])


@pytest.mark.parametrize("id", sorted(NEAR))
def test_both_forms_end_an_episode(id: str) -> None:
    row, tensor, env = engines(id, 3)
    box = isinstance(env.single_action_space, gym.spaces.Box)
    fields, value = NEAR[id]
    action = torch.full(env.action_space.shape or (3,), value, dtype=torch.float32 if box else torch.int64)
    for _ in range(2):
        state = {name: old.clone() for name, old in tensor.world.state.items()}
        for name, near in fields.items():
            state[name][1] = near
        for engine in (row, tensor):
            engine.load(tensor.world._replace(state=state))
        one, two = (engine.advance(action, None, None) for engine in (row, tensor))
        assert two.terminated.tolist() == [False, True, False]
        assert torch.equal(one.terminated, two.terminated)
        torch.testing.assert_close(one.reward, two.reward)
        torch.testing.assert_close(one.next_obs, two.next_obs)
        assert torch.equal(row.world.key, tensor.world.key)


def test_sines_and_cosines_are_those_of_float64() -> None:
    angles = np.concatenate([np.linspace(-40, 40, 20_001), np.linspace(-1e-3, 1e-3, 101)]).astype(np.float32)
    for own, exact in ((real.sin, np.sin), (real.cos, np.cos)):
        found = np.array([own(angle) for angle in angles])
        assert found.dtype == np.float32
        assert np.abs(found - exact(angles.astype(np.float64))).max() < 1e-7


def test_seeded_episodes_and_pictures_of_ends_are_the_same() -> None:
    id, seeds = "gymnast/MinAtar-Breakout-v1", torch.arange(50)
    assert check(id, 8, 150, seeds) > 40
    row, tensor, _ = engines(id, 8)
    generator = torch.Generator().manual_seed(0)
    shown = 0
    for _ in range(60):
        action = torch.randint(3, (8,), generator=generator)
        row.advance(action, 5, None), tensor.advance(action, 5, None)
        assert row.final is not None
        assert tensor.final is not None
        for at in row.final[0].nonzero().flatten().tolist():
            assert all(torch.equal(row.final[1][name][at], value[at]) for name, value in tensor.final[1].items())
            shown += 1
    assert shown > 50


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_engine, "SHARE", 10)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert check("gymnast/MinAtar-Breakout-v1", 35, 60) > 50


def test_a_masked_reset_begins_the_same_episodes() -> None:
    row, tensor, _ = engines("gymnast/MinAtar-Breakout-v1", 6)
    mask = torch.tensor([True, False, True, False, False, True])
    for engine in (row, tensor):
        engine.advance(torch.ones(6, dtype=torch.int64), None, None)
        engine.restart(mask)
        engine.restart(mask.flip(0))
    for name, value in tensor.world._asdict().items():
        other = getattr(row.world, name)
        pairs = [(other[field], value[field]) for field in value] if name == "state" else [(other, value)]
        assert all(torch.equal(one, two) for one, two in pairs), name


def test_steps_are_kept_by_who_has_them() -> None:
    row, _, _ = engines("gymnast/MinAtar-Breakout-v1", 30)
    moves, copies = [], []
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        moves.append(row.advance(torch.randint(3, (30,), generator=generator), 7, None))
        copies.append([value.clone() for value in moves[-1] if isinstance(value, Tensor)])
    for moved, copy in zip(moves, copies, strict=True):
        kept = [value for value in moved if isinstance(value, Tensor)]
        assert all(torch.equal(one, two) for one, two in zip(kept, copy, strict=True))
