"""Samplers: what is drawn how often, with which weights, and what changes priorities (row 9)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents.schedules import schedule
from gymnast.replay import ranking
from gymnast.replay.device.samplers import DeviceUniform
from gymnast.replay.samplers import EPS, Prioritized, Uniform

PRIORITIES = {0: 1.0, 3: 4.0, 4: 0.25, 7: 9.0, 8: 2.0, 9: 0.5}
"""Of ten slots, the first and the last one included; the others are not ready."""
READY = np.isin(np.arange(10), list(PRIORITIES))
CHI_SQUARE = 20.5  # 5 degrees of freedom, p = 0.001


def prioritized(*, slots: int = 10, alpha: float = 0.7, beta: float = 0.5, ranked: bool = False) -> Prioritized:
    sampler = Prioritized(np.random.default_rng(0), alpha=alpha, beta=lambda step: beta, ranked=ranked)
    sampler.allocate(slots)
    return sampler


def filled(**options: Any) -> Prioritized:
    sampler = prioritized(**options)
    sampler.changed(np.flatnonzero(READY), READY)
    learn(sampler, list(PRIORITIES), list(PRIORITIES.values()))
    return sampler


def learn(sampler: Prioritized, slots: list[int], priorities: list[float]) -> None:
    sampler.update(torch.tensor(slots), torch.tensor(priorities) - EPS)


def draw(sampler: Prioritized, size: int, ready: np.ndarray = READY) -> tuple[np.ndarray, np.ndarray]:
    index, weight = np.zeros(size, np.int64), np.zeros(size, np.float32)
    sampler.sample(ready, int(ready.sum()), index, weight)
    return index, weight


def probabilities(priority: np.ndarray, *, alpha: float, ranked: bool) -> np.ndarray:
    """The definition, slot by slot, 0 where the priority is 0; equal priorities share their ranks' parts."""
    mass = np.zeros(len(priority))
    for slot in np.flatnonzero(priority):
        if ranked:
            before, equal = (priority > priority[slot]).sum(), (priority == priority[slot]).sum()
            mass[slot] = np.mean((np.arange(before, before + equal) + 1.0) ** -alpha)
        else:
            mass[slot] = priority[slot] ** alpha
    return mass / mass.sum()


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_samples_follow_the_priorities(ranked: bool, alpha: float) -> None:
    """Batches of one are independent draws: chi-square over the six slots that are ready, first and last included."""
    sampler = filled(alpha=alpha, ranked=ranked)
    drawn = np.concatenate([draw(sampler, 1)[0] for _ in range(20_000)])
    priority = np.zeros(10)
    priority[list(PRIORITIES)] = list(PRIORITIES.values())
    expected = 20_000 * probabilities(priority, alpha=alpha, ranked=ranked)
    counts = np.bincount(drawn, minlength=10)
    assert set(np.flatnonzero(counts)) == set(PRIORITIES)
    assert ((counts[READY] - expected[READY]) ** 2 / expected[READY]).sum() < CHI_SQUARE


def test_a_batch_takes_one_from_each_part() -> None:
    """Masses 1, 2, 1 in four parts: the first and the last slot once each, the middle one twice, in every batch."""
    sampler = prioritized(slots=3, alpha=1.0)
    ready = np.ones(3, bool)
    sampler.changed(np.arange(3), ready)
    learn(sampler, [0, 1, 2], [1.0, 2.0, 1.0])
    for _ in range(100):
        assert np.bincount(draw(sampler, 4, ready)[0]).tolist() == [1, 2, 1]


@pytest.mark.parametrize("ranked", [False, True])
def test_weights_are_the_closed_form(ranked: bool) -> None:
    sampler = filled(alpha=0.7, beta=0.4, ranked=ranked)
    priority = np.zeros(10)
    priority[list(PRIORITIES)] = list(PRIORITIES.values())
    chance = probabilities(priority, alpha=0.7, ranked=ranked)
    for size in (1, 3, 200):
        index, weight = draw(sampler, size)
        expected = (6 * chance[index]) ** -0.4  # N = 6 transitions are ready
        np.testing.assert_allclose(weight, expected / expected.max(), rtol=1e-5)
        assert weight.max() == 1.0


def test_weights_by_hand() -> None:
    """Priorities 1 and 4, alpha 0.5: P = 1/3 and 2/3, N P = 2/3 and 4/3; with beta 1, weights 3/2 and 3/4, over 3/2."""
    sampler = prioritized(slots=2, alpha=0.5, beta=1.0)
    ready = np.ones(2, bool)
    sampler.changed(np.arange(2), ready)
    learn(sampler, [0, 1], [1.0, 4.0])
    index, weight = draw(sampler, 30, ready)
    np.testing.assert_allclose(weight, np.where(index == 0, 1.0, 0.5), rtol=1e-5)
    assert set(index) == {0, 1}


def test_ranks_by_hand() -> None:
    """Errors 5, 1, 3 with alpha 1: 1/1, 1/3 and 1/2 of 11/6; of two equal ones each takes half of 1/1 + 1/2."""
    sampler = prioritized(slots=3, alpha=1.0, beta=1.0, ranked=True)
    ready = np.ones(3, bool)
    sampler.changed(np.arange(3), ready)
    learn(sampler, [0, 1, 2], [5.0, 1.0, 3.0])
    assert np.bincount(draw(sampler, 11_000, ready)[0]) == pytest.approx([6_000, 2_000, 3_000], abs=2)
    learn(sampler, [0, 2], [5.0, 5.0])
    assert np.bincount(draw(sampler, 11_000, ready)[0]) == pytest.approx([4_500, 2_000, 4_500], abs=2)


@pytest.mark.parametrize("ranked", [False, True])
def test_new_transitions_have_the_largest_priority_so_far(ranked: bool) -> None:
    sampler = prioritized(slots=4, alpha=0.5, ranked=ranked)
    ready = np.array([True, False, True, False])
    sampler.changed(np.array([0, 2]), ready)
    masses = sampler._order.masses
    assert masses.tolist() == [1.0, 0.0, 1.0, 0.0]
    learn(sampler, [0], [16.0])
    learn(sampler, [0], [4.0])
    ready[3] = True
    sampler.changed(np.array([3]), ready)
    assert masses == pytest.approx([4.0, 0.0, 1.0, 16.0] if ranked else [2.0, 0.0, 1.0, 4.0])


@pytest.mark.parametrize("ranked", [False, True])
def test_of_equal_slots_in_a_batch_the_last_counts(ranked: bool) -> None:
    sampler = filled(alpha=1.0, ranked=ranked)
    learn(sampler, [3, 4, 3, 3], [7.0, 8.0, 9.0, 2.0])
    assert sampler._order.masses[[3, 4]] == pytest.approx([2.0, 8.0])
    assert sampler.largest == pytest.approx(9.0)


@pytest.mark.parametrize("ranked", [False, True])
def test_errors_that_come_too_late_or_are_not_finite_change_nothing(ranked: bool) -> None:
    sampler, ready = filled(ranked=ranked), READY.copy()
    ready[3] = False
    sampler.changed(np.array([3]), ready)
    before, largest = sampler._order.masses.copy(), sampler.largest
    sampler.update(torch.tensor([3, 1, 4, 7]), torch.tensor([50.0, 60.0, float("nan"), float("inf")]))
    np.testing.assert_array_equal(sampler._order.masses, before)
    assert sampler.largest == largest
    assert 3 not in draw(sampler, 2_000, ready)[0]


def test_an_error_of_zero_is_still_replayed() -> None:
    sampler = filled(alpha=1.0)
    sampler.update(torch.tensor(list(PRIORITIES)), torch.zeros(6))
    assert sampler._order.masses[READY] == pytest.approx(np.full(6, EPS))
    assert set(draw(sampler, 60)[0]) == set(PRIORITIES)


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("slots", [1, 2, 7, 8, 9, 57, 64, 65, 3_000])
def test_any_history_gives_the_definition(ranked: bool, slots: int) -> None:
    """Slots become ready and cease to be, errors come, and every slot is drawn as often as it should, within one part.

    A slot's mass is one interval: of B equal parts it holds whole ones, and at each end one that it may miss.
    """
    rng, ready, priority = np.random.default_rng(slots), np.zeros(slots, bool), np.zeros(slots)
    sampler = prioritized(slots=slots, alpha=0.6, ranked=ranked)
    for _ in range(120):
        slot = rng.integers(slots, size=rng.integers(1, max(slots // 8, 2)))
        ready[slot] = rng.random(len(slot)) < 0.8
        priority[slot] = np.where(ready[slot], sampler.largest, 0.0)
        sampler.changed(slot, ready)
        index = rng.integers(slots, size=32)
        error = (rng.random(32) if rng.random() < 0.5 else rng.integers(4, size=32)).astype(np.float32)
        sampler.update(torch.from_numpy(index), torch.from_numpy(error))
        for one, value in zip(index, error + np.float32(EPS), strict=True):
            priority[one] = value if ready[one] else 0.0
    np.testing.assert_allclose(sampler._order.masses, priority if ranked else (priority > 0) * priority**0.6)
    if not ready.any():
        ready[-1], priority[-1] = True, sampler.largest
        sampler.changed(np.array([slots - 1]), ready)
    counts = np.bincount(draw(sampler, 50_000, ready)[0], minlength=slots)
    chance = probabilities(priority, alpha=0.6, ranked=ranked)
    assert (counts[chance == 0] == 0).all()
    assert np.abs(counts - 50_000 * chance).max() < 2.0


@pytest.mark.parametrize("ranked", [False, True])
def test_rounding_at_the_edges_never_finds_a_slot_without_mass(ranked: bool) -> None:
    """The largest number below 1 in every part, masses over sixteen orders of magnitude, holes at both edges."""

    class Edge:
        def random(self, size: int) -> np.ndarray:
            return np.full(size, np.nextafter(1.0, 0.0))

    rng = np.random.default_rng(0)
    for slots in (1, 3, 9, 100, 1_000):
        ready = rng.random(slots) < 0.5
        ready[slots // 2] = True
        sampler = prioritized(slots=slots, alpha=1.0, ranked=ranked)
        sampler.changed(np.arange(slots), ready)
        errors = 10.0 ** rng.uniform(-6, 10, slots)
        sampler.update(torch.arange(slots), torch.from_numpy(errors))
        sampler.rng = Edge()  # type: ignore[assignment]
        for size in (1, 2, 37):
            index, weight = draw(sampler, size, ready)
            assert ready[index].all()
            assert np.isfinite(weight).all()


def test_blocks_of_ranks_are_used_again() -> None:
    """Errors that fall and fall leave the first blocks nearly empty, until all blocks are taken and are packed anew."""
    slots = 4 * ranking.SIZE
    sampler, ready = prioritized(slots=slots, alpha=1.0, ranked=True), np.ones(slots, bool)
    sampler.changed(np.arange(slots), ready)
    priority = np.ones(slots)
    for round_ in range(12):
        index = np.random.default_rng(round_).permutation(slots)[: slots - 40]
        priority[index] = np.linspace(0.9, 0.5, len(index)) * 0.5**round_
        sampler.update(torch.from_numpy(index), torch.from_numpy(priority[index] - EPS))
    counts = np.bincount(draw(sampler, 100_000, ready)[0], minlength=slots)
    expected = probabilities(sampler._order.masses.copy(), alpha=1.0, ranked=True)
    np.testing.assert_allclose(sampler._order.masses, priority, rtol=1e-6)
    assert np.abs(counts - 100_000 * expected).max() < 2.0


@pytest.mark.parametrize("ranked", [False, True])
def test_state_goes_on_exactly(ranked: bool) -> None:
    one, other = filled(ranked=ranked), prioritized(ranked=ranked)
    draw(one, 5)
    other.load_state_dict(one.state_dict())
    for _ in range(20):
        first, second = draw(one, 8), draw(other, 8)
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
        error = torch.rand(8)
        for sampler in (one, other):
            sampler.update(torch.from_numpy(first[0]), error)
    assert one.largest == other.largest


def test_beta_follows_its_schedule_and_ends_at_one() -> None:
    sampler = Prioritized(
        np.random.default_rng(0), alpha=0.5, beta=schedule("linear:0.4:1:1000", name="beta", high=1.0)
    )
    for env_step, beta in ((0, 0.4), (500, 0.7), (1_000, 1.0), (10**9, 1.0)):
        sampler.anneal(env_step)
        assert sampler.beta == pytest.approx(beta)
        assert sampler.beta <= 1.0


@pytest.mark.parametrize("kind", ["numpy", "device"])
def test_uniform_samples_are_uniform(kind: str) -> None:
    ready = np.zeros(500, bool)
    ready[[0, 3, 4, 250, 498, 499]] = True
    index, weight = np.zeros(60_000, np.int64), np.zeros(60_000, np.float32)
    if kind == "numpy":
        Uniform(np.random.default_rng(0)).sample(ready, 6, index, weight)
    else:
        sampler = DeviceUniform(torch.Generator())
        sampler.allocate(500, torch.device("cpu"))
        sampler.changed(torch.arange(501), torch.from_numpy(np.append(ready, False)))
        uniform = torch.rand(60_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        drawn, weight = sampler.draw(uniform)
        index = drawn.numpy()
    slots, counts = np.unique(index, return_counts=True)
    assert slots.tolist() == [0, 3, 4, 250, 498, 499]  # the first and the last slot included
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 20.5  # chi-square with 5 degrees of freedom, p = 0.001
    assert (weight == 1).all()
