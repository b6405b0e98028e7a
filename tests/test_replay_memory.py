"""Memory and disk that a replay takes: what is asked for before it is taken, and frames that lie in a file (row 33)."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import DQN, DQNConfig
from gymnast.replay import allocation
from gymnast.replay.layout import Layout
from gymnast.replay.ring import SCALAR_BYTES, Ring
from gymnast.replay.samplers import Prioritized
from gymnast.replay.transitions import NStep
from tests.replay_world import Every, World, check, make

CPU = torch.device("cpu")
ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)


def prioritized(*, ranked: bool = False) -> Prioritized:
    return Prioritized(np.random.default_rng(0), alpha=0.6, beta=lambda step: 0.4, ranked=ranked)


def held(value: Any) -> int:
    """Bytes of all arrays that an object refers to, each memory once."""
    found: dict[int, int] = {}

    def visit(part: Any) -> None:
        if isinstance(part, np.ndarray):
            whole = part
            while isinstance(whole.base, np.ndarray):
                whole = whole.base
            found[id(whole)] = whole.nbytes
        elif isinstance(part, torch.Tensor):
            found[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
        elif isinstance(part, list | tuple):
            for item in part:
                visit(item)
        elif isinstance(part, Ring | Prioritized) or type(part).__name__ in ("SumTree", "Ranking"):
            for item in vars(part).values():
                visit(item)

    visit(value)
    return sum(found.values())


@pytest.mark.parametrize("ranked", [False, True])
def test_what_is_asked_for_is_what_is_held(ranked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arrays of a ring of 20,000 Atari slots and of its sampler, against the number that the check is given."""
    asked: list[int] = []
    monkeypatch.setattr("gymnast.replay.ring.check_fits", lambda needed, *_, **__: asked.append(needed))
    ring = Ring(Layout(ATARI, stack=4), prioritized(ranked=ranked), NStep(1, 0.99), **SIZES)
    assert asked[0] == 20_000 * (7_056 + SCALAR_BYTES + ring.sampler.slot_bytes)
    assert asked[0] == pytest.approx(held(ring), rel=2e-3)  # what does not grow with the slots is beside it
    assert held(ring) / 20_000 <= 7_300
    mask = torch.ones(8, 18, dtype=torch.bool)
    no, obs = torch.zeros(8, dtype=torch.bool), torch.zeros(8, 4, 84, 84, dtype=torch.uint8)
    step = {"reward": torch.zeros(8), "terminated": no, "truncated": no, "next_obs": obs, "following": obs}
    ring.add(obs, torch.zeros(8, dtype=torch.int64), **step, next_mask=mask)
    assert asked[1] == 20_000 * 18
    assert ring.mask is not None
    assert ring.mask.nbytes == asked[1]


SIZES = {"size": 20_000, "num_envs": 8, "batch_size": 1}


@pytest.mark.parametrize("ranked", [False, True])
def test_a_million_atari_frames_fit_in_seven_and_a_half_gigabytes(
    ranked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(ATARI, stack=4)
    needed = 1_000_000 * (layout.frame_bytes + SCALAR_BYTES + prioritized(ranked=ranked).slot_bytes)
    assert needed + 1_000_000 * 18 <= 7.5e9  # masks of all actions included
    monkeypatch.setattr(allocation, "free_bytes", lambda device: int(7.5e9) + allocation.RESERVE)
    allocation.check_fits(needed, CPU, replay_size=1_000_000)


def test_too_much_memory_is_said_before_it_is_taken() -> None:
    layout = Layout(spaces.Box(0, 255, (4, 84, 84), np.uint8), stack=4)
    with pytest.raises(ValueError, match=r"replay_size 1,000,000,000 needs 70\d\d\.\d\d GB but .* GB are free on cpu"):
        Ring(layout, Every(), NStep(1, 0.9), size=10**9, num_envs=1, batch_size=4)


def test_container_limit_counts(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("1000000\n")
    used.write_text("400000\n")
    monkeypatch.setattr(allocation, "CGROUPS", ((str(limit), str(used)), (str(tmp_path / "none"), str(used))))
    assert allocation.free_bytes(CPU) == 600_000
    limit.write_text("max\n")
    assert allocation.free_bytes(CPU) > 600_000


@pytest.mark.parametrize(("stack", "n"), [(1, 1), (3, 2)])
def test_frames_on_disk_are_what_they_are_in_memory(tmp_path: Path, stack: int, n: int) -> None:
    capacity = 2 * stack + n + 9
    world = World(np.random.default_rng(0), num_envs=2, stack=stack, n=n, capacity=capacity)
    options: dict[str, Any] = {"num_envs": 2, "stack": stack, "n": n, "size": 2 * capacity, "batch_size": 2 * capacity}
    ring = make("numpy", **options, path=str(tmp_path / "frames"))
    for _ in range(80):
        ring.add(**world.step(waits=False))
    check(ring, world)
    other = make("numpy", **options, path=str(tmp_path / "other"))
    other.load_state_dict(ring.state_dict())
    check(other, world)


def test_dict_observations_on_disk(tmp_path: Path) -> None:
    space = spaces.Dict({"image": spaces.Box(0, 255, (3, 5), np.uint8), "number": spaces.Discrete(9)})
    options: dict[str, Any] = {"size": 10, "num_envs": 1, "batch_size": 1, "path": str(tmp_path / "frames")}
    ring = Ring(Layout(space), Every(), NStep(1, 0.9), **options)
    no = torch.zeros(1, dtype=torch.bool)
    obs = {"image": torch.arange(15, dtype=torch.uint8).reshape(1, 3, 5), "number": torch.tensor([7])}
    after = {"image": obs["image"] + 1, "number": torch.tensor([8])}
    flags = {"reward": torch.zeros(1), "terminated": no, "truncated": no}
    ring.add(obs, torch.tensor([0]), **flags, next_obs=after, following=after)
    batch = ring.sample()
    assert torch.equal(batch.obs["image"], obs["image"])
    assert torch.equal(batch.next_obs["image"], after["image"])
    assert (batch.obs["number"].tolist(), batch.next_obs["number"].tolist()) == ([7], [8])


def test_the_file_has_its_room_at_once_no_name_and_is_gone_with_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    arrays = allocation.map_file(str(path), [5_000, 3], replay_size=1)
    assert [len(array) for array in arrays] == [5_000, 3]
    assert not any(array.any() for array in arrays)
    assert list(tmp_path.iterdir()) == []  # no other run can open it, and a killed one leaves nothing
    second = allocation.map_file(str(path), [5_000, 3], replay_size=1)
    arrays[0][:], arrays[1][:] = 1, 2
    assert not any(array.any() for array in second)
    assert (arrays[0] == 1).all()


def test_only_the_rest_counts_against_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("gymnast.replay.ring.check_fits", lambda needed, *_, **__: asked.append(needed))
    Ring(Layout(ATARI, stack=4), prioritized(), NStep(1, 0.99), **SIZES | {"size": 96}, path=str(tmp_path / "frames"))
    assert asked == [96 * (SCALAR_BYTES + prioritized().slot_bytes)]


def test_a_disk_with_too_little_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames"
    monkeypatch.setattr(allocation.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**9))
    with pytest.raises(
        ValueError, match=r"replay_size 300,000 needs 2\.00 GB of disk but 1\.00 GB are free for .*frames"
    ):
        allocation.map_file(str(path), [2 * 10**9], replay_size=300_000)
    assert not path.exists()


def test_room_that_goes_between_asking_and_taking_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"replay_path .*frames cannot be used: No space left on device"):
        allocation.map_file(str(tmp_path / "frames"), [100], replay_size=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"replay_path .*frames exists: name a file that does not"):
        allocation.map_file(str(path), [100], replay_size=1)
    assert path.read_text() == "mine"
    with pytest.raises(ValueError, match=r"replay_path .*none/frames cannot be used: No such file or directory"):
        allocation.map_file(str(tmp_path / "none" / "frames"), [100], replay_size=1)


def test_dqn_maps_its_replay(tmp_path: Path) -> None:
    config = DQNConfig(replay_path=str(tmp_path / "frames"), replay_size=100)
    box = spaces.Box(-1, 1, (4,))
    ring = DQN(box, spaces.Discrete(2), config).allocate()
    assert isinstance(ring, Ring)
    base: Any = ring.frames[0]
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base).__name__ == "mmap"
    agent = DQN(box, spaces.Discrete(2), config)
    agent.device = torch.device("meta")
    with pytest.raises(ValueError, match="replay_path needs device cpu, got meta"):
        agent.allocate()
