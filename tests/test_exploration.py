"""Exploration: choices by hand and frequencies against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from gymnast.agents.tabular import exploration as explore

Q, COUNTS = [1.0, 3.0, 3.0, 0.0], [5, 2, 8, 0]


def frequencies(kind: int, strength: float, *, random_ties: bool = True, draws: int = 20_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    chosen = [explore.choose(kind, Q, COUNTS, strength, random_ties, *rng.random(2).tolist()) for _ in range(draws)]
    return np.bincount(chosen, minlength=4) / draws


def test_epsilon_greedy_with_ties() -> None:
    np.testing.assert_allclose(frequencies(explore.EPSILON_GREEDY, 0.4), [0.1, 0.4, 0.4, 0.1], atol=0.015)
    np.testing.assert_allclose(
        frequencies(explore.EPSILON_GREEDY, 0.4, random_ties=False), [0.1, 0.7, 0.1, 0.1], atol=0.015
    )
    np.testing.assert_array_equal(frequencies(explore.GREEDY, 1.0, random_ties=False, draws=50), [0, 1, 0, 0])
    np.testing.assert_allclose(frequencies(explore.EPSILON_GREEDY, 1.0), [0.25] * 4, atol=0.015)


def test_boltzmann_is_a_softmax_and_stands_large_values() -> None:
    weight = np.exp(np.array(Q) / 1.5)
    np.testing.assert_allclose(frequencies(explore.BOLTZMANN, 1.5), weight / weight.sum(), atol=0.015)
    assert explore.boltzmann([1e6, -1e6], 1e-3, 0.999) == 0


def test_count_and_ucb_by_hand() -> None:
    # Q + 4 / (1 + N): 1.67, 4.33, 3.44, 4
    assert explore.best(explore.COUNT, Q, COUNTS, 4.0, False, 0.0) == 1
    assert explore.best(explore.COUNT, Q, COUNTS, 40.0, False, 0.0) == 3
    assert explore.best(explore.UCB, Q, COUNTS, 1.0, False, 0.0) == 3  # never tried
    # without it: sum 15, 1 + 0.74, 3 + 1.16, 3 + 0.58
    assert explore.best(explore.UCB, Q[:3], COUNTS[:3], 1.0, False, 0.0) == 1
    assert explore.best(explore.UCB, [1.0, 1.0], [0, 0], 1.0, True, 0.99) == 1


def test_thompson_widens_with_ignorance() -> None:
    assert explore.thompson(Q, COUNTS, 1.0, [0.0, 0.0, 0.0, 4.0]) == 3  # 0 + 4 / sqrt(1)
    assert explore.thompson(Q, COUNTS, 1.0, [4.0, 0.0, 0.1, 0.0]) == 2  # 1 + 4 / sqrt(6) = 2.63


def test_categorical_takes_weights() -> None:
    assert [explore.categorical([0.0, 2.0, 6.0], u) for u in (0.0, 0.24, 0.26, 0.999)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("kind", "strength"),
    [
        (explore.GREEDY, 0.0),
        (explore.EPSILON_GREEDY, 0.3),
        (explore.BOLTZMANN, 0.7),
        (explore.COUNT, 2.0),
        (explore.UCB, 1.0),
    ],
)
@pytest.mark.parametrize("random_ties", [True, False])
def test_expectation_is_the_mean_over_choices(kind: int, strength: float, random_ties: bool) -> None:
    rng = np.random.default_rng(1)
    q, counts = [0.5, 2.0, 2.0], [3, 3, 3]
    chosen = [explore.choose(kind, q, counts, strength, random_ties, *rng.random(2).tolist()) for _ in range(20_000)]
    expected = explore.expectation(kind, q, counts, strength, random_ties)
    assert np.mean([q[action] for action in chosen]) == pytest.approx(expected, abs=0.02)


def test_optimistic_maximum() -> None:
    assert explore.optimistic_maximum([1.0, 2.0], [0, 9], 5.0) == 6.0
    assert explore.maximum([1.0, 2.0]) == 2.0
