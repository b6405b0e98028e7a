"""The rings against a naive buffer that keeps every observation whole, and n-step windows (rows 3 to 7)."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from gymnast.replay import ring as ring_module
from gymnast.replay import ring_arrays
from gymnast.replay.device import ring as device_ring
from gymnast.replay.device.samplers import DeviceUniform
from gymnast.replay.layout import Layout
from gymnast.replay.one_stream import OneStream
from gymnast.replay.ring import Ring
from gymnast.replay.ring_arrays import Arrays, Windows, allocate
from gymnast.replay.ring_kernels import Compiled
from gymnast.replay.samplers import Prioritized, Uniform
from gymnast.replay.transitions import NStep
from tests.replay_world import GAMMA, Every, World, as_vectors, check, make


@pytest.mark.parametrize("kind", ["numpy", "device"])
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 3),
    stack=st.integers(1, 4),
    n=st.integers(1, 4),
    spare=st.integers(0, 25),
    steps=st.integers(1, 70),
    waits=st.booleans(),
    resets=st.booleans(),
    masks=st.booleans(),
    vectors=st.booleans(),
)
def test_ring_equals_naive_buffer(
    kind: str,
    seed: int,
    num_envs: int,
    stack: int,
    n: int,
    spare: int,
    steps: int,
    waits: bool,
    resets: bool,
    masks: bool,
    vectors: bool,
) -> None:
    rng = np.random.default_rng(seed)
    capacity = 2 * stack + n + 2 + spare
    world = World(rng, num_envs=num_envs, stack=stack, n=n, capacity=capacity, masks=masks)
    sizes = {"size": capacity * num_envs, "batch_size": capacity * num_envs, "action_size": 2 * vectors}
    ring = make(kind, num_envs=num_envs, stack=stack, n=n, **sizes)
    kept = None  # the loop hands the very object back that the last step returned
    for time in range(steps):
        if resets and rng.random() < 0.05:
            world.reset_outside(int(rng.integers(num_envs)))
            kept = None
        step = world.step(waits=waits)
        if kept is not None:
            step["obs"] = kept
        if vectors:
            step["action"] = as_vectors(step["action"])
        ring.add(**step)
        kept = step["following"]
        if time % 7 == 0:
            check(ring, world)
    check(ring, world)


@pytest.mark.parametrize("kind", ["numpy", "device", "proportional", "rank"])
@pytest.mark.parametrize("steps", [5, 90])
def test_state_goes_on_exactly(kind: str, steps: int) -> None:
    def sampler() -> Any:
        if kind == "device":
            return DeviceUniform(torch.Generator().manual_seed(1))
        rng = np.random.default_rng(1)
        if kind == "numpy":
            return Uniform(rng)
        return Prioritized(rng, alpha=0.6, beta=lambda step: 0.4, ranked=kind == "rank")

    def learn(ring: Any) -> Any:
        batch = ring.sample()
        ring.sampler.update(batch.index, (batch.action % 7).float())
        return batch

    options = {"num_envs": 2, "stack": 3, "n": 2, "size": 80, "batch_size": 16}
    place = "device" if kind == "device" else "numpy"
    first, second = make(place, **options, sampler=sampler()), make(place, **options, sampler=sampler())
    world = World(np.random.default_rng(0), num_envs=2, stack=3, n=2, capacity=40)
    for _ in range(steps):
        first.add(**world.step(waits=False))
        if first.ready.any():
            learn(first)
    state = first.state_dict()
    assert len(state["arrays"]["frames0"]) <= (80 if steps == 90 else 60)  # only what was ever written
    second.load_state_dict(torch.load(_saved(state), weights_only=True))
    for _ in range(30):
        step = world.step(waits=False)
        first.add(**step)
        second.add(**step)
        one, other = learn(first), learn(second)
        for name in ("obs", "action", "reward", "discount", "next_obs", "weight", "index"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


def _saved(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["numpy", "device"])
def test_state_of_another_ring_is_refused(kind: str) -> None:
    one = make(kind, num_envs=2, stack=1, n=1, size=40, batch_size=4)
    other = make(kind, num_envs=4, stack=1, n=1, size=40, batch_size=4)
    with pytest.raises(ValueError, match="another num_envs"):
        other.load_state_dict(one.state_dict())


def test_state_of_another_size_or_observation_is_refused_and_changes_nothing() -> None:
    world = World(np.random.default_rng(0), num_envs=2, stack=1, n=1, capacity=20)
    one = make("numpy", num_envs=2, stack=1, n=1, size=40, batch_size=4)
    one.add(**world.step(waits=False))
    longer = make("numpy", num_envs=2, stack=1, n=1, size=60, batch_size=4)  # would wrap elsewhere
    wider = Ring(Layout(spaces.Box(0, 1, (3,))), Every(), NStep(1, GAMMA), size=40, num_envs=2, batch_size=4)
    for other in (longer, wider):
        with pytest.raises(ValueError, match="another num_envs, replay_size or observation"):
            other.load_state_dict(one.state_dict())
        assert (other.count, other.used, other.ready.any()) == (0, 0, False)


@pytest.mark.parametrize("build", ["numba", "torch"])
def test_n_step_by_hand(build: str) -> None:
    # Slots of one stream: rewards 1, 2, 4, 8; the third step ends in a terminal state.
    build_windows = {"numba": by_numba, "torch": by_torch}[build]
    reward, bootstrap = np.array([1, 2, 4, 8], np.float32), np.array([1, 1, 0, 1], np.float32)
    stop, nstep = np.array([False, False, True, False]), NStep(3, 0.5)
    total, discount, successor = build_windows(np.arange(3), nstep, reward, bootstrap, stop, stride=1)
    assert total.tolist() == [1 + 1 + 1, 2 + 2, 4]
    assert discount.tolist() == [0, 0, 0]
    assert successor.tolist() == [3, 3, 3]
    # Truncated there instead: the bootstrap stays, discounted by as many steps as were taken.
    total, discount, successor = build_windows(np.arange(3), nstep, reward, np.ones(4, np.float32), stop, stride=1)
    assert total.tolist() == [3, 4, 4]
    assert discount.tolist() == [0.125, 0.25, 0.5]


def by_numba(index: Any, nstep: NStep, reward: Any, bootstrap: Any, stop: Any, *, stride: int) -> list[np.ndarray]:
    """The transitions of slots as the ring on the CPU builds them."""
    ring = make_columns(nstep, stride, reward=reward, bootstrap=bootstrap, stop=stop)
    out = Windows(*(np.zeros(len(index), kind) for kind in (np.int64, np.float32, np.float32, np.int64)))
    Compiled(ring).windows(index, out)
    return [out.reward, out.discount, out.successor]


def by_torch(index: Any, nstep: NStep, reward: Any, bootstrap: Any, stop: Any, *, stride: int) -> list[np.ndarray]:
    """The same as a ring on a device builds them."""
    columns = {"reward": torch.from_numpy(reward), "bootstrap": torch.from_numpy(bootstrap)}
    built = device_ring.windows(torch.from_numpy(index), nstep, **columns, stop=torch.from_numpy(stop), stride=stride)
    return [built[0].numpy(), built[1].numpy(), built[2].numpy() % len(reward)]


def make_columns(nstep: NStep, stride: int, **columns: np.ndarray) -> Arrays:
    """The arrays of a ring of one frame a stack, with these columns."""
    slots = len(columns["reward"])
    ring = allocate(slots, stride, stack=1, n=nstep.n, gammas=nstep.gammas, block=4)
    for name, column in columns.items():
        getattr(ring, name)[:] = column
    return ring


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("at", range(5))
def test_end_at_every_index(n: int, end: str, at: int) -> None:
    """Five steps of reward 1, an end at one of them: truncation keeps the bootstrap, termination does not."""
    ring = make("numpy", num_envs=1, stack=1, n=n, size=30, batch_size=30)
    obs = torch.tensor([[0.0, 0.0]])
    for step in range(5):
        successor, ends = torch.tensor([[step + 1.0, 0.0]]), torch.tensor([step == at])
        following = torch.tensor([[10.0, 0.0]]) if step == at else successor
        flags = {"terminated": torch.tensor([False]), "truncated": torch.tensor([False]), end: ends}
        ring.add(obs, torch.tensor([step]), reward=torch.ones(1), **flags, next_obs=successor, following=following)
        obs = following if step == at else successor
    batch = ring.sample()
    seen = {int(action): place for place, action in enumerate(batch.action)}
    for step in range(at + 1):
        length = min(n, at - step + 1)
        place = seen[step]  # no start is lost at an episode's end
        ended = step + length - 1 == at
        assert batch.reward[place] == pytest.approx(sum(GAMMA**power for power in range(length)))
        assert batch.discount[place] == pytest.approx(0.0 if ended and end == "terminated" else GAMMA**length)
        assert batch.next_obs[place, 0] == step + length


def test_ring_keeps_dicts_and_dtypes() -> None:
    space = spaces.Dict({"image": spaces.Box(0, 255, (3, 2), np.uint8), "pair": spaces.Tuple([spaces.Discrete(4)])})
    ring = Ring(Layout(space), Every(), NStep(1, GAMMA), size=20, num_envs=2, batch_size=4)
    obs = {"image": torch.randint(0, 255, (2, 3, 2), dtype=torch.uint8), "pair": {"0": torch.tensor([1, 2])}}
    successor = {"image": obs["image"] + 1, "pair": {"0": torch.tensor([3, 0])}}
    no = torch.zeros(2, dtype=torch.bool)
    ring.add(
        obs,
        torch.tensor([0, 1]),
        reward=torch.ones(2),
        terminated=no,
        truncated=no,
        next_obs=successor,
        following=successor,
    )
    batch = ring.sample()
    assert batch.obs["image"].dtype == torch.uint8
    assert batch.obs["pair"]["0"].dtype == torch.int64
    for place, action in enumerate(batch.action.tolist()):
        assert torch.equal(batch.obs["image"][place], obs["image"][action])
        assert batch.next_obs["pair"]["0"][place] == successor["pair"]["0"][action]


def test_too_small_rings_and_wrong_stacks_are_refused() -> None:
    with pytest.raises(ValueError, match="replay_size must be >= 10 for 2 environments, got 9"):
        make("numpy", num_envs=2, stack=1, n=1, size=9, batch_size=4)
    with pytest.raises(ValueError, match="frame_stack 4 needs observations"):
        Layout(spaces.Box(0, 255, (3, 84, 84), np.uint8), stack=4)


@pytest.mark.parametrize("ranked", [False, True])
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 3),
    stack=st.integers(1, 4),
    n=st.integers(1, 4),
    spare=st.integers(0, 25),
    waits=st.booleans(),
)
def test_priorities_follow_what_is_ready(
    ranked: bool, seed: int, num_envs: int, stack: int, n: int, spare: int, waits: bool
) -> None:
    """No sample crosses the write pointer or an end, also where errors arrive after later steps were stored."""
    rng = np.random.default_rng(seed)
    capacity = 2 * stack + n + 2 + spare
    world = World(rng, num_envs=num_envs, stack=stack, n=n, capacity=capacity)
    sampler = Prioritized(np.random.default_rng(seed), alpha=0.7, beta=lambda step: 0.5, ranked=ranked)
    ring = make("numpy", num_envs=num_envs, stack=stack, n=n, size=capacity * num_envs, batch_size=16, sampler=sampler)
    for _ in range(40):
        pending = (ring.sample().index.clone(), torch.rand(16)) if ring.count else None
        for _ in range(rng.integers(1, 4)):
            ring.add(**world.step(waits=waits))
        if pending is not None:
            sampler.update(*pending)
        assert ((sampler._order.masses > 0) == ring.ready).all()
        check(ring, world)


@pytest.mark.parametrize("seed", range(3))
def test_one_stream_in_numpy_and_compiled_are_equal(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array and batch over several rounds of the ring, with resets from outside and rows that wait."""
    sizes: Any = {"num_envs": 1, "stack": 1, "n": 1, "size": 12, "batch_size": 8}
    plain = make("numpy", **sizes, sampler=Uniform(np.random.default_rng(seed)))
    monkeypatch.setattr(ring_module, "loops_for", Compiled)
    compiled = make("numpy", **sizes, sampler=Uniform(np.random.default_rng(seed)))
    assert isinstance(plain._loops, OneStream)
    assert isinstance(compiled._loops, Compiled)
    world = World(np.random.default_rng(seed), num_envs=1, stack=1, n=1, capacity=12)
    for number in range(60):
        if number % 7 == 6:
            world.reset_outside(0)
        step = world.step(waits=True)
        for ring in (plain, compiled):
            ring.add(**step)
        changes = plain._data.counts[ring_arrays.CHANGES]
        assert plain._data.counts[:3].tolist() == compiled._data.counts[:3].tolist()
        assert plain._data.changed[:changes].tolist() == compiled._data.changed[:changes].tolist()
        for name in ("action", "reward", "bootstrap", "stop", "ready", "touched", "streams"):
            assert np.array_equal(getattr(plain._data, name), getattr(compiled._data, name)), (number, name)
        assert np.array_equal(plain.frames[0], compiled.frames[0])
        if plain.count:
            ours, theirs = plain.sample(), compiled.sample()
            for name in ("obs", "action", "reward", "discount", "next_obs", "index"):
                assert torch.equal(getattr(ours, name), getattr(theirs, name)), (number, name)


def test_windows_are_equal_on_the_cpu_and_on_a_device() -> None:
    """Bit for bit, on arrays of any content."""
    rng = np.random.default_rng(0)
    for n in range(1, 6):
        slots, stride = 60, 3
        reward, bootstrap = rng.normal(size=slots).astype(np.float32), (rng.random(slots) < 0.8).astype(np.float32)
        stop, index, nstep = rng.random(slots) < 0.2, rng.integers(slots, size=400), NStep(n, GAMMA)
        one = by_numba(index, nstep, reward, bootstrap, stop, stride=stride)
        other = by_torch(index, nstep, reward, bootstrap, stop, stride=stride)
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_copy_of_a_ring_leaves_the_ring_alone() -> None:
    """The kernels are given addresses: a copy's are those of its own arrays."""
    ring = make("numpy", num_envs=2, stack=1, n=1, size=20, batch_size=8)
    world = World(np.random.default_rng(0), num_envs=2, stack=1, n=1, capacity=10)
    ring.add(**world.step(waits=False))
    before = copy.deepcopy(ring.state_dict())
    other = copy.deepcopy(ring)
    other.add(**world.step(waits=False))
    assert (ring.count, other.adds) == (2, 2)
    for name, array in before["arrays"].items():
        assert torch.equal(ring.state_dict()["arrays"][name], array)


def test_what_is_stored_is_a_copy_of_whatever_layout_and_type() -> None:
    ring = make("numpy", num_envs=2, stack=1, n=1, size=20, batch_size=8)
    strided = torch.arange(8.0, dtype=torch.float64).reshape(2, 4)[
        :, ::2
    ]  # [[0, 2], [4, 6]], neither dense nor float32
    successor, no = strided + 1, torch.zeros(2, dtype=torch.bool)
    step = {"reward": torch.tensor([1.0, 0.0, 2.0])[::2], "terminated": no, "truncated": no, "next_obs": successor}
    ring.add(strided, torch.tensor([0, 1], dtype=torch.int32), **step, following=successor)
    strided.fill_(-1.0)
    successor.fill_(-1.0)
    batch = ring.sample()
    for place, action in enumerate(batch.action.tolist()):
        assert batch.obs[place].tolist() == [[0.0, 2.0], [4.0, 6.0]][action]
        assert batch.next_obs[place].tolist() == [[1.0, 3.0], [5.0, 7.0]][action]
        assert batch.reward[place] == [1.0, 2.0][action]
    with pytest.raises(ValueError, match=r"made for 4 numbers, got a tensor of shape \(3, 2\)"):
        ring.add(torch.zeros(3, 2), torch.tensor([0, 1]), **{**step, "next_obs": torch.zeros(3, 2)}, following=None)


def test_masks_that_come_late() -> None:
    """What was stored before the first mask allowed every action; a step without one does too."""
    ring = make("numpy", num_envs=1, stack=1, n=1, size=20, batch_size=12)
    no = torch.zeros(1, dtype=torch.bool)
    for time, mask in enumerate([None, torch.tensor([[True, False]]), None]):
        flags = {"reward": torch.zeros(1), "terminated": no, "truncated": no}
        obs, successor = torch.full((1, 2), float(time)), torch.full((1, 2), time + 1.0)
        ring.add(obs, torch.tensor([time]), **flags, next_obs=successor, following=successor, next_mask=mask)
    batch = ring.sample()
    assert batch.next_mask is not None
    seen = {action: batch.next_mask[place].tolist() for place, action in enumerate(batch.action.tolist())}
    assert seen == {0: [True, True], 1: [True, False], 2: [True, True]}


def test_nothing_to_sample_is_said() -> None:
    with pytest.raises(ValueError, match="no transition is complete yet"):
        make("numpy", num_envs=1, stack=1, n=3, size=20, batch_size=4).sample()
