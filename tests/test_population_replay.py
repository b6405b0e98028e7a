"""The replay of many agents in one ring: each samples only its own transitions, all of them equally often."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.populations.environment import CounterNoise
from gymnast.replay.device.members import DeviceMemberPrioritized, DeviceMemberUniform
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DevicePrioritized
from gymnast.replay.layout import Layout
from gymnast.replay.members import MemberSampler
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Prioritized, Uniform
from gymnast.replay.transitions import NStep
from tests.population_pairs import Script, part_of

MEMBERS, ROWS, BATCH, OWN = 3, 2, 64, 40
CPU = torch.device("cpu")
GAMMAS = (0.9, 0.5, 1.0)
LAYOUT = Layout(spaces.Box(-1.0, 1.0, (3,), np.float32))
SIZES = {"size": MEMBERS * OWN, "num_envs": MEMBERS * ROWS, "batch_size": MEMBERS * BATCH}


def rngs() -> list[np.random.Generator]:
    return [np.random.Generator(np.random.PCG64(seed)) for seed in range(MEMBERS)]


def on_cpu(transitions: NStep) -> Ring:
    sampler = MemberSampler([Uniform(rng) for rng in rngs()])
    ring = Ring(LAYOUT, sampler, transitions, **SIZES)
    sampler.watch(ring)
    return ring


def on_device(transitions: NStep) -> DeviceRing:
    sampler = DeviceMemberUniform(CounterNoise(range(MEMBERS), CPU), members=MEMBERS, num_envs=ROWS)
    return DeviceRing(LAYOUT, sampler, transitions, **SIZES, device=CPU)


def single(transitions: NStep, rng: np.random.Generator) -> Ring:
    return Ring(LAYOUT, Uniform(rng), transitions, size=OWN, num_envs=ROWS, batch_size=BATCH)


def add(ring: Any, moment: Any, rows: slice = slice(0, MEMBERS * ROWS)) -> None:
    obs, acted, step = moment[0][rows], part_of(moment[1], rows), part_of(moment[2], rows)
    ring.add(
        obs,
        acted.action,
        reward=step.reward,
        terminated=step.terminated,
        truncated=step.truncated,
        next_obs=step.next_obs,
        following=step.obs,
    )


@pytest.mark.parametrize("n", [1, 3])
def test_a_member_draws_what_it_would_draw_from_its_own_ring(n: int) -> None:
    ring, script = on_cpu(NStep(n, GAMMAS)), Script(MEMBERS * ROWS, masked=False)
    alone = [single(NStep(n, gamma), rng) for gamma, rng in zip(GAMMAS, rngs(), strict=True)]
    for number in range(60):
        moment = script.step()
        add(ring, moment)
        for member, own in enumerate(alone):
            add(own, moment, slice(member * ROWS, (member + 1) * ROWS))
        if number < n:
            continue
        batch = ring.sample()
        for member, own in enumerate(alone):
            mine = slice(member * BATCH, (member + 1) * BATCH)
            for name, value in vars_of(own.sample()).items():
                assert torch.equal(vars_of(batch)[name][mine], value), name
    assert alone[0].used == alone[0].slots == OWN


def vars_of(batch: Any) -> dict[str, torch.Tensor]:
    names = ("obs", "action", "reward", "discount", "next_obs", "weight")
    return {name: getattr(batch, name) for name in names}


def test_a_member_without_a_complete_transition_is_named() -> None:
    ring = on_cpu(NStep(3, 0.9))
    add(ring, Script(MEMBERS * ROWS, masked=False, ends=0.0).step())
    with pytest.raises(ValueError, match="nothing to sample"):
        ring.sample()


@pytest.mark.parametrize("n", [1, 3])
def test_on_a_device_each_member_draws_its_ready_slots_equally_often(n: int) -> None:
    ring, script = on_device(NStep(n, GAMMAS)), Script(MEMBERS * ROWS, masked=False)
    like = on_cpu(NStep(n, GAMMAS))
    for number in range(60):
        moment = script.step()
        add(ring, moment)
        add(like, moment)
        assert np.array_equal(ring.ready[:-1].numpy(), like.ready)
        if number not in (n, 10, 59):
            continue
        drawn = torch.cat([ring.sample().index.view(MEMBERS, BATCH).clone() for _ in range(200)], 1)
        for member in range(MEMBERS):
            own = np.flatnonzero(like.ready)
            own = own[own % (MEMBERS * ROWS) // ROWS == member]
            slots, counts = np.unique(drawn[member].numpy(), return_counts=True)
            assert np.array_equal(slots, own)
            assert counts.max() < 2 * drawn.shape[1] / len(own)


class Given:
    """Numbers that a test sets."""

    generators: Sequence[torch.Generator] = ()

    def __init__(self) -> None:
        self.numbers = torch.zeros(MEMBERS, BATCH)

    def uniform(self, *shape: int) -> torch.Tensor:
        return self.numbers

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@pytest.mark.parametrize("ranked", [False, True])
def test_on_a_device_a_member_prioritizes_as_in_a_ring_of_its_own(ranked: bool) -> None:
    priorities: Any = {"alpha": 0.7, "beta": lambda step: 0.5 + 0.01 * step, "ranked": ranked}
    given, transitions = Given(), NStep(2, 0.9)
    sampler = DeviceMemberPrioritized(given, members=MEMBERS, num_envs=ROWS, **priorities)
    ring = DeviceRing(LAYOUT, sampler, transitions, **SIZES, device=CPU)
    alone = []
    for _ in range(MEMBERS):
        own = DevicePrioritized(torch.Generator(), **priorities)
        sizes = {"size": OWN, "num_envs": ROWS, "batch_size": BATCH}
        alone.append(DeviceRing(LAYOUT, own, transitions, **sizes, device=CPU))
    script, generator = Script(MEMBERS * ROWS, masked=False), torch.Generator().manual_seed(1)
    for number in range(60):
        moment = script.step()
        add(ring, moment)
        for member, own_ring in enumerate(alone):
            add(own_ring, moment, slice(member * ROWS, (member + 1) * ROWS))
        if number < 2:
            continue
        given.numbers = torch.rand(MEMBERS, BATCH, generator=generator)
        error = torch.rand(MEMBERS, BATCH, generator=generator) * 3.0
        error[0, 3] = torch.nan
        sampler.anneal(number)
        batch = ring.sample()
        for member, own_ring in enumerate(alone):
            own_ring.sampler.anneal(number)
            own_ring.gather(given.numbers[member].double())
            mine = slice(member * BATCH, (member + 1) * BATCH)
            for name, value in vars_of(own_ring._buffers.batch).items():
                if name == "weight":  # powers of vectors, whose last bits depend on the lane on some processors
                    torch.testing.assert_close(vars_of(batch)[name][mine], value)
                    continue
                assert torch.equal(vars_of(batch)[name][mine], value), (number, name)
            own_ring.sampler.update(own_ring._buffers.batch.index, error[member])
        sampler.update(batch.index, error.flatten())


def prioritized(transitions: NStep) -> Ring:
    sampler = MemberSampler([Prioritized(rng, alpha=0.5, beta=lambda step: 1.0) for rng in rngs()])
    ring = Ring(LAYOUT, sampler, transitions, **SIZES)
    sampler.watch(ring)
    return ring


def prioritized_on_device(transitions: NStep) -> DeviceRing:
    numbers = CounterNoise(range(MEMBERS), CPU)
    sampler = DeviceMemberPrioritized(numbers, members=MEMBERS, num_envs=ROWS, alpha=0.5, beta=lambda step: 1.0)
    return DeviceRing(LAYOUT, sampler, transitions, **SIZES, device=CPU)


@pytest.mark.parametrize("make", [on_cpu, on_device, prioritized, prioritized_on_device])
def test_a_ring_goes_on_from_its_state(make: Any) -> None:
    one, other, script = make(NStep(2, 0.9)), make(NStep(2, 0.9)), Script(MEMBERS * ROWS, masked=False)
    for number in range(70):
        if number in (15, 50):  # before and after the ring is full
            other = make(NStep(2, 0.9))
            other.load_state_dict(one.state_dict())
        moment = script.step()
        add(one, moment)
        add(other, moment)
        if number > 15:
            batches = [ring.sample() for ring in (one, other)]
            first, second = (vars_of(batch) for batch in batches)
            assert all(torch.equal(first[name], second[name]) for name in first)
            for ring, batch in zip((one, other), batches, strict=True):
                ring.sampler.update(batch.index, batch.reward.abs())


def test_discounts_of_members_are_the_same_on_both_rings() -> None:
    ring, resident, script = on_cpu(NStep(3, GAMMAS)), on_device(NStep(3, GAMMAS)), Script(6, masked=False)
    for _ in range(20):
        moment = script.step()
        add(ring, moment)
        add(resident, moment)
    batch = resident.sample()
    like = ring._windows
    ring.windows(batch.index.numpy(), like)
    torch.testing.assert_close(batch.reward, torch.from_numpy(like.reward))
    torch.testing.assert_close(batch.discount, torch.from_numpy(like.discount))
    assert {round(value, 3) for value in batch.discount[:BATCH].tolist()} <= {0.0, 0.9, 0.81, 0.729}
