"""The ring on a device against the ring on the CPU: the same slots, priorities, marks and batches."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DevicePrioritized, DeviceUniform
from gymnast.replay.device.sums import BLOCK, DeviceSums
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Prioritized
from gymnast.replay.transitions import NStep
from tests.replay_world import World

CPU = torch.device("cpu")
ALPHA, BATCH = 0.6, 32


def beta(env_step: int) -> float:
    return 0.4 + 0.002 * env_step


class Drawn(Prioritized):
    """Draws for the numbers that it is told to; the sum tree has its leaves in another order, so by a running sum."""

    uniform = np.zeros(BATCH)

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        if self.ranked:
            self._order.draw(self.uniform, self.beta, index, weight)
            return
        mass = self._order.masses
        running = np.cumsum(mass)
        part = (np.arange(len(index)) + self.uniform) / len(index)
        index[:] = np.searchsorted(running, part * running[-1], side="right")
        weights = (count * mass[index] / running[-1]) ** -self.beta
        weight[:] = weights / weights.max()


def rings(
    *, stack: int, n: int, num_envs: int, size: int, ranked: bool, device: str = "cpu"
) -> tuple[Ring, DeviceRing]:
    layout = Layout(spaces.Box(-np.inf, np.inf, (stack, 2) if stack > 1 else (2,)), stack=stack)
    options: dict[str, Any] = {"size": size, "num_envs": num_envs, "batch_size": BATCH}
    drawn = Drawn(np.random.default_rng(0), alpha=ALPHA, beta=beta, ranked=ranked)
    cpu = Ring(layout, drawn, NStep(n, 0.9), **options)
    generator = torch.Generator(device)
    sampler = DevicePrioritized(generator, alpha=ALPHA, beta=beta, ranked=ranked)
    return cpu, DeviceRing(layout, sampler, NStep(n, 0.9), **options, device=torch.device(device))


def sample_both(cpu: Ring, ours: DeviceRing, uniform: np.ndarray) -> tuple[Any, Any]:
    """Batches for the same random numbers."""
    cpu.sampler.uniform = uniform  # type: ignore[attr-defined]
    ours.gather(torch.from_numpy(uniform).to(ours.slot.device))
    return cpu.sample(), ours._buffers.batch


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize(
    ("stack", "n", "num_envs", "size"), [(1, 1, 1, 9), (4, 1, 3, 90), (3, 3, 2, 1100), (1, 4, 5, 60)]
)
def test_equals_the_ring_on_the_cpu(stack: int, n: int, num_envs: int, size: int, ranked: bool) -> None:
    """Streams with waits, lost lives, resets from outside and masks; sampled and re-prioritised between the steps."""
    rng = np.random.default_rng(stack + 10 * n)
    cpu, ours = rings(stack=stack, n=n, num_envs=num_envs, size=size, ranked=ranked)
    world = World(rng, num_envs=num_envs, stack=stack, n=n, capacity=size)
    flips = 0
    for time in range(160):
        if time % 11 == 10:
            world.reset_outside(int(rng.integers(num_envs)))
        step = world.step(waits=True)
        if time > 20 and time % 5:  # masks from a while on, and not in every step
            step["next_mask"] = torch.from_numpy(rng.random((num_envs, 3)) < 0.7)
        cpu.add(**step)
        ours.add(**step)
        if cpu.count and time % 3 == 0:
            cpu.sampler.anneal(time)
            ours.sampler.anneal(time)
            one, other = sample_both(cpu, ours, rng.random(BATCH))
            flips += int((one.index != other.index).sum())  # float32 masses may round to the next slot
            if torch.equal(one.index, other.index):
                for name in ("obs", "action", "reward", "discount", "next_obs", "next_mask"):
                    assert_same(getattr(one, name), getattr(other, name), tolerance=1e-6)
                assert_same(one.weight, other.weight, tolerance=1e-5)
            error = torch.from_numpy(rng.random(BATCH).astype(np.float32) * 3)
            error[rng.integers(BATCH)] = (torch.nan, torch.inf, 0.0)[time // 3 % 3]
            index = one.index.clone()
            cpu.sampler.update(index, error)
            ours.sampler.update(index, error)
        assert torch.equal(ours.ready[:-1], torch.from_numpy(cpu.ready))
    assert flips <= 3
    state, expected = ours.state_dict(), cpu.state_dict()
    np.testing.assert_allclose(state["sampler"]["priority"], expected["sampler"]["priority"], rtol=1e-5)
    assert state["sampler"]["largest"].item() == pytest.approx(expected["sampler"]["largest"], rel=1e-6)
    assert torch.equal(state["touched"], expected["touched"])
    assert (state["adds"], state["block"]) == (expected["adds"], expected["block"])
    used = np.flatnonzero(cpu.ready)
    for name, array in expected["arrays"].items():
        if not name.startswith("frames"):  # of those the batches have told
            assert torch.equal(state["arrays"][name][used], array[used]), name


def assert_same(one: Any, other: Any, *, tolerance: float) -> None:
    assert (one is None) == (other is None)
    if one is not None:
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("ranked", [False, True])
def test_state_goes_on_exactly(ranked: bool) -> None:
    rng = np.random.default_rng(0)
    _, first = rings(stack=2, n=2, num_envs=2, size=60, ranked=ranked)
    _, second = rings(stack=2, n=2, num_envs=2, size=60, ranked=ranked)
    world = World(rng, num_envs=2, stack=2, n=2, capacity=30)

    def go_on(*these: DeviceRing) -> list[Any]:
        step = world.step(waits=False)
        step["next_mask"] = torch.from_numpy(rng.random((2, 3)) < 0.7)
        error, batches = torch.from_numpy(rng.random(BATCH)), []
        for ring in these:
            ring.add(**step)
            batch = ring.sample()
            ring.sampler.update(batch.index, error)
            batches.append({name: getattr(batch, name).clone() for name in ("index", "weight", "obs", "next_mask")})
        return batches

    first.add(**world.step(waits=False))
    first.add(**world.step(waits=False))
    for _ in range(40):
        go_on(first)
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        one, other = go_on(first, second)
        for name, value in one.items():
            assert torch.equal(value, other[name]), name


def test_samples_follow_the_priorities() -> None:
    """P(i) = p**alpha / sum (chi-square), weights (N P)**-beta over the largest; the first and last slot included."""
    slots = 2 * BLOCK  # whole blocks, so that the slot that stands for none lies in a block of its own
    sampler = DevicePrioritized(torch.Generator(), alpha=0.5, beta=lambda env_step: 0.7)
    sampler.allocate(slots, CPU)
    chosen = torch.tensor([0, 3, BLOCK - 1, BLOCK, slots - 1])
    ready = torch.zeros(slots + 1, dtype=torch.bool)
    ready[chosen] = True
    sampler.changed(torch.arange(slots + 1), ready)
    assert torch.equal(sampler.mass[:-1] > 0, ready[:-1])
    sampler.update(chosen, torch.tensor([1.0, 4.0, 9.0, 16.0, 25.0]))
    probability = torch.arange(1.0, 6.0).double() / 15
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(slots)
    for _ in range(300):
        uniform = torch.rand(50, generator=generator, dtype=torch.float64)
        index, weight = sampler.draw(uniform)
        counts += torch.bincount(index, minlength=slots)
        shares = probability[torch.searchsorted(chosen, index)]
        expected = (5 * shares) ** -0.7
        torch.testing.assert_close(weight.double(), expected / expected.max(), rtol=1e-5, atol=0)
    assert counts.sum() == counts[chosen].sum() == 15_000
    # Stratified draws vary less than independent ones: 13.28 would be the one percent bound of those.
    assert ((counts[chosen] - 15_000 * probability) ** 2 / (15_000 * probability)).sum() < 13.28


def test_new_transitions_get_the_largest_priority() -> None:
    sampler = DevicePrioritized(torch.Generator(), alpha=0.5, beta=lambda env_step: 1.0)
    sampler.allocate(10, CPU)
    ready = torch.zeros(11, dtype=torch.bool)
    ready[:3] = True
    sampler.changed(torch.tensor([0, 1, 2, 10]), ready)
    assert sampler.mass[:4].tolist() == [1, 1, 1, 0]
    sampler.update(torch.tensor([0, 0, 7]), torch.tensor([5.0, 9.0, 100.0]))  # 7 is not ready; the last 0 counts
    assert sampler.mass[:8].tolist() == pytest.approx([3, 1, 1, 0, 0, 0, 0, 0])
    ready[3] = True
    ready[0] = False
    sampler.changed(torch.tensor([0, 3, 10]), ready)
    assert sampler.mass.tolist() == pytest.approx([0, 1, 1, 3] + 7 * [0])


def test_sums_find_no_slot_without_mass() -> None:
    """At both ends of every part, with masses whose sums round, and blocks that are empty."""
    slots = 5 * BLOCK + 7
    rng = np.random.default_rng(0)
    mass = torch.from_numpy(rng.random(slots).astype(np.float32) ** 20)
    mass[rng.random(slots) < 0.9] = 0.0
    mass[:3] = mass[-3:] = 0.0
    mass[BLOCK : 2 * BLOCK] = 0.0
    sums = DeviceSums(slots, CPU)
    sums.set(torch.arange(slots), mass)
    running = mass.double().cumsum(0)
    part = torch.cat(
        [
            torch.tensor([0.0, 1.0 - 2**-53]),
            running / running[-1],
            (running / running[-1]).nextafter(torch.tensor(0.0).double()),
        ]
    )
    found = sums.find(part.clamp(max=1.0 - 2**-53))
    assert (mass[found] > 0).all()
    assert (running[found] >= (part * running[-1]) * (1 - 1e-12)).all()
    other = DeviceSums(slots, CPU)
    other.load(mass)
    assert torch.equal(other.find(part), found)


@pytest.mark.parametrize("ranked", [False, True])
def test_nothing_is_read_by_the_host(ranked: bool) -> None:
    """Tensors without data: whatever needs a number or a shape that depends on data raises an error."""
    layout, meta = Layout(spaces.Box(0, 255, (4, 84, 84), np.uint8), stack=4), torch.device("meta")
    for sampler in (
        DevicePrioritized(torch.Generator(), alpha=0.6, beta=beta, ranked=ranked),
        DeviceUniform(torch.Generator()),
    ):
        ring = DeviceRing(layout, sampler, NStep(3, 0.9), size=500, num_envs=8, batch_size=32, device=meta)
        ring._unchecked = 0  # the first steps' stacks are looked at, once
        obs, no = (
            torch.zeros((8, 4, 84, 84), dtype=torch.uint8, device=meta),
            torch.zeros(8, dtype=torch.bool, device=meta),
        )
        for active in (None, no):
            step = {"reward": torch.zeros(8, device=meta), "terminated": no, "truncated": no, "active": active}
            ring.add(
                obs,
                torch.zeros(8, dtype=torch.int64, device=meta),
                next_obs=obs,
                following=obs,
                life_lost=no,
                next_mask=torch.ones((8, 3), dtype=torch.bool, device=meta),
                **step,
            )
        ring.gather(ring._uniform)
        batch = ring._buffers.batch
        sampler.update(batch.index, batch.reward)
        assert batch.obs.shape == (32, 4, 84, 84)
        assert batch.next_mask.shape == (32, 3)


@pytest.mark.long
def test_compiled_equals_eager() -> None:
    """One graph without breaks for a batch, one for its errors."""
    rng = np.random.default_rng(0)
    _, eager = rings(stack=2, n=3, num_envs=2, size=60, ranked=False)
    _, compiled = rings(stack=2, n=3, num_envs=2, size=60, ranked=False)
    compiled.compile(partial(torch.compile, fullgraph=True, dynamic=False))
    world = World(rng, num_envs=2, stack=2, n=3, capacity=30)
    for time in range(50):
        step, error = world.step(waits=False), torch.from_numpy(rng.random(BATCH).astype(np.float32))
        batches = []
        for ring in (eager, compiled):
            ring.add(**step)
            if time > 5:
                ring.sampler.anneal(time)
                batches.append(ring.sample())
                ring.sampler.update(batches[-1].index, error)
        for name in ("index", "weight", "obs", "reward", "discount", "next_obs") if batches else ():
            torch.testing.assert_close(getattr(batches[0], name), getattr(batches[1], name))
    torch.testing.assert_close(compiled.sampler.mass, eager.sampler.mass)
