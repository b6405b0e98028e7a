"""Both emulators behind one id: the same steps, snapshots, pictures, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gymnast.atari import protocols
from gymnast.envs.atari import base
from gymnast.envs.atari.base import Atari
from gymnast.envs.atari.games import make_atari
from gymnast.envs.atari2600.check import Pair
from gymnast.envs.step import Step
from gymnast.settings import emulators
from gymnast.settings.options import TrainOptions

NAMES = ("obs", "next_obs", "start", "reward", "terminated", "truncated", "lives")


def game(emulator: str, *, id: str = "Pong", seed: int = 3, limit: int | None = 25, **options: Any) -> Atari:
    """Two rows on an emulator."""
    options["emulator"] = emulator
    return make_atari(id, 2, seed=seed, options=options, max_episode_steps=limit, render=True)


def played(env: Atari, steps: int, seed: int = 0) -> list[Step]:
    rng = np.random.default_rng(seed)
    return [env.step(torch.from_numpy(rng.integers(6, size=2))) for _ in range(steps)]


def assert_same(one: Step, other: Step) -> None:
    for name in NAMES:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert one.num_ended == other.num_ended
    if one.num_ended:
        assert one.episode_return.tolist() == other.episode_return.tolist()  # type: ignore[union-attr]
        assert one.episode_length.tolist() == other.episode_length.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("id", "limit", "options"),
    [
        ("Pong", 25, {}),
        ("BreakoutNoFrameskip-v4", 25, {"fire_reset": True, "frame_skip": 3, "stack": 2, "screen": 42}),
        ("Pong", None, {"frame_skip": 1, "full_action_space": True, "noop_max": 0, "max_frames": 17}),
    ],
)
def test_both_emulators_play_the_same_steps(
    id: str, limit: int | None, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends, later seeds, pictures in colour and memories as well."""
    monkeypatch.setattr(base, "RESEED_AFTER", 30)
    ale, ours = (game(emulator, id=id, limit=limit, **options) for emulator in ("ale", "ours"))
    assert torch.equal(torch.as_tensor(ale.reset()), torch.as_tensor(ours.reset()))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(60):
        actions = torch.from_numpy(rng.integers(4, size=2))
        one, other = ale.step(actions), ours.step(actions)
        assert_same(one, other)
        ends += one.num_ended
        if one.num_ended or rng.random() < 0.1:
            assert all(np.array_equal(ale.render(row), ours.render(row)) for row in range(2))
            assert all(np.array_equal(ale.ram(row), ours.ram(row)) for row in range(2))
    assert ends >= 4
    assert ale.episode == ours.episode
    for env in (ale, ours):
        env.close()


def test_a_run_on_our_console_resumes_without_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RESEED_AFTER", 30)
    env, copy = game("ours"), game("ours", seed=99)
    env.reset()
    played(env, 60)
    kept = env.snapshot()
    copy.restore(kept)
    assert torch.equal(torch.as_tensor(copy.obs), torch.as_tensor(env.obs))
    for one, other in zip(played(env, 60, seed=1), played(copy, 60, seed=1), strict=True):
        assert_same(one, other)
    assert copy.episode == env.episode
    with pytest.raises(ValueError, match="the snapshot of ALE/Pong-v5 is of the emulator ours, not ale"):
        game("ale").restore(kept)
    with pytest.raises(ValueError, match="the snapshot is of another version of the console"):
        copy.restore({**kept, "layout": 0})


def test_a_mode_and_a_difficulty_are_played_by_our_console() -> None:
    env = make_atari("PongNoFrameskip-v4", 1, options={"mode": 1, "difficulty": 3, "noop_max": 0})
    pair = Pair("pong")
    env.reset()
    pair.select(1, 3)
    for _ in range(10):
        env.step(torch.tensor([2]))
        for _ in range(4):
            pair.act(pair.ours.game.actions[2])
    assert pair.difference is None
    assert np.array_equal(env.ram(), pair.ale.getRAM())
    played_under = protocols.of(env, None)
    assert played_under is not None
    assert (played_under.label, "mode 1, difficulty 3" in played_under.as_text()) == ("custom", True)


@pytest.mark.parametrize(
    ("id", "options", "text"),
    [
        ("Pacman", {}, "emulator ours does not know the game pacman; use ale"),
        ("Pong", {"grayscale": False}, r"emulator ours has no stacks in colour \(grayscale false\); use ale"),
        ("Pong", {"emulator": "mame"}, "emulator must be ours or ale, got 'mame'"),
    ],
)
def test_what_our_console_cannot_play(id: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_atari(id, 1, options={"emulator": "ours", **options})


def test_a_run_keeps_its_emulator() -> None:
    asked = TrainOptions(env="Pong", emulator="ours", env_options='{"stack": 2}')
    resolved = emulators.resolve(asked)
    assert resolved.env_options == '{"stack": 2, "emulator": "ours"}'
    assert emulators.resolve(resolved) == resolved
    assert emulators.note(resolved) == "Pong is played by gymnast's own console; --emulator ale has ale-py play it"
    assert emulators.resolve(TrainOptions(env="Pong"), resumed=True).env_options == '{"emulator": "ale"}'
    plain = TrainOptions(env="CartPole-v1")
    assert emulators.resolve(plain) == plain
    assert emulators.note(plain) is None


@pytest.mark.parametrize(
    ("env", "env_options", "text"),
    [
        ("CartPole-v1", "", "emulator ours is for Atari games, and CartPole-v1 is not one"),
        ("Pong", '{"emulator": "ale"}', "emulator ours contradicts emulator ale of env_options; drop one of them"),
    ],
)
def test_wrong_emulators_fail_in_one_line(env: str, env_options: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        emulators.resolve(TrainOptions(env=env, emulator="ours", env_options=env_options))
