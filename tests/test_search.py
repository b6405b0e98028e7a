"""CMA-ES with a state of plain numbers."""

import io

import numpy as np
import pytest
import torch

from gymnast.agents.base import LearningError
from gymnast.agents.world_models.search import Search

BEST = np.array([1.0, -2.0, 0.5, 3.0])


def fitness(candidates: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(-np.square(candidates - BEST).sum(1))


def searching(**changes: int) -> Search:
    return Search(**{"size": 4, "population": 8, "sigma": 0.5, "seed": 3, **changes})  # type: ignore[arg-type]


def run(search: Search, generations: int) -> list[np.ndarray]:
    found = []
    for _ in range(generations):
        found.append(search.ask())
        search.tell(fitness(found[-1]))
    return found


def test_it_finds_the_best_vector() -> None:
    search = searching()
    run(search, 60)
    np.testing.assert_allclose(search.mean(), BEST, atol=1e-3)
    assert search.deviation() < 0.01


@pytest.mark.parametrize("at", [0, 1, 7, 10, 11, 15])
def test_a_restored_search_continues_bit_for_bit(at: int) -> None:
    """Ten generations, a new round, six more; interrupted before, between and after."""

    def go(search: Search, first: int, last: int) -> list[np.ndarray]:
        found = []
        for generation in range(first, last):
            if generation == 10:
                search.begin()
            found += run(search, 1)
        return found

    whole = searching()
    expected = go(whole, 0, 16)
    half = searching()
    go(half, 0, at)
    file = io.BytesIO()
    torch.save(half.state_dict(), file)
    file.seek(0)
    other = searching(seed=9)  # the seed is part of the state
    other.load_state_dict(torch.load(file, weights_only=True))
    assert np.array_equal(other.mean(), half.mean())
    for one, two in zip(go(other, at, 16), expected[at:], strict=True):
        assert np.array_equal(one, two)
    assert np.array_equal(other.mean(), whole.mean())
    assert other.deviation() == whole.deviation()


def test_a_new_round_begins_at_the_mean_with_other_numbers() -> None:
    search = searching()
    first = search.ask() - search.mean()
    run(search, 5)
    mean = search.mean()
    search.begin()
    assert np.array_equal(search.mean(), mean)
    assert search.deviation() == 0.5
    assert not np.allclose(search.ask() - mean, first)


def test_the_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    run(searching(), 3)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002


def test_two_seeds_differ_and_the_same_does_not() -> None:
    assert np.array_equal(run(searching(), 3)[-1], run(searching(), 3)[-1])
    assert not np.array_equal(searching().ask(), searching(seed=4).ask())


def test_asking_twice_gives_the_same_candidates() -> None:
    search = searching()
    assert np.array_equal(search.ask(), search.ask())


def test_fitness_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(LearningError, match="not finite: the model has diverged"):
        searching().tell(torch.tensor([0.0] * 7 + [float("nan")]))


@pytest.mark.parametrize("changes", [{"size": 5}, {"population": 10}])
def test_the_state_of_another_search_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="the saved search has 4 parameters and 8 candidates"):
        searching(**changes).load_state_dict(searching().state_dict())
