"""The rules of one row, compiled for the CPU, are the rules of tensors: the same rows, bit for bit where discrete."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from gymnast.envs.kernels import engine as kernel_engine
from gymnast.envs.kernels.engine import RowEngine
from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.engine import Engine, TensorEngine
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.native.world import Moved
from gymnast.envs.registration import NATIVE
from gymnast.envs.step import Obs

CPU = torch.device("cpu")
ROUNDED = {"CartPole", "Acrobot", "MountainCar", "MountainCarContinuous", "Pendulum"}
"""Games of real numbers, whose sines differ in the last bit."""
OPTIONS: dict[str, dict[str, Any]] = {
    "gymnast/CartPole-v1": {"sutton_barto_reward": True},
    "gymnast/MinAtar-Breakout-v1": {"sticky": 0.5, "full_actions": True},
    "gymnast/MinAtar-Asterix-v1": {"sticky": 0.5, "ramping": False, "full_actions": True},
    "gymnast/MinAtar-Freeway-v1": {"sticky": 0.5, "full_actions": True},
    "gymnast/MinAtar-SpaceInvaders-v1": {"sticky": 0.5, "ramping": False, "full_actions": True},
    "gymnast/MinAtar-Seaquest-v1": {"sticky": 0.5, "ramping": False},
}
"""Options other than the defaults, which are compared too."""


def with_rows() -> list[str]:
    return [id for id in NATIVE if NativeVectorEnv(NATIVE[id][0]).game.row_rules() is not None]


def engines(id: str, rows: int, **options: Any) -> tuple[Engine, Engine, NativeVectorEnv]:
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


def check(id: str, rows: int, steps: int, seeds: Tensor | None = None, **options: Any) -> int:
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
    assert ended > 0 or id in ("gymnast/MinAtar-Freeway-v1", "gymnast/Pendulum-v1")


@pytest.mark.parametrize("id", sorted(OPTIONS))
def test_both_forms_are_one_with_options(id: str) -> None:
    check(id, 20, 60, **OPTIONS[id])


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
