"""Counter-based random numbers: SplitMix64 against plain integers, uniform, and nothing repeats or goes together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gymnast.envs.native.draws import STRIDE, Draws, keys_of, mix, next_keys, row_keys

CPU = torch.device("cpu")
GOLDEN = 0x9E3779B97F4A7C15
ROWS = 1 << 16


def signed(number: int) -> int:
    number %= 2**64
    return number - 2**64 if number >= 2**63 else number


def unsigned(bits: Tensor) -> list[int]:
    return [number % 2**64 for number in bits.tolist()]


def splitmix(state: int) -> int:
    """SplitMix64's finaliser in Python's own integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


def draws(seed: int = 0, counter: int = 0, rows: int = ROWS) -> Draws:
    return Draws(row_keys(seed, rows, device=CPU), torch.full((rows,), counter))


def chi_square(counts: Tensor) -> float:
    """In standard deviations from its mean, for counts that should be equal."""
    expected, freedom = counts.sum() / len(counts), len(counts) - 1
    return float(((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


def correlation(left: Tensor, right: Tensor) -> float:
    """In standard deviations of that of independent numbers."""
    return float(torch.corrcoef(torch.stack([left, right]))[0, 1]) * len(left) ** 0.5


def test_mix_is_splitmix64s_finaliser() -> None:
    edges = [0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, GOLDEN]
    numbers = edges + [splitmix(7 * number) for number in range(1000)]
    mixed = mix(torch.tensor([signed(number) for number in numbers]))
    assert unsigned(mixed) == [splitmix(number) for number in numbers]


def test_mix_gives_the_published_sequence_of_a_seed() -> None:
    states = torch.tensor([signed(1234567 + number * GOLDEN) for number in range(1, 6)])
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert unsigned(mix(states)) == [*published, 16408922859458223821]


@pytest.mark.parametrize(("counter", "index"), [(0, 0), (0, 255), (1, 0), (1_000_000, 3)])
def test_a_draw_is_a_number_of_the_sequence_of_its_key(counter: int, index: int) -> None:
    key = row_keys(5, 4, device=CPU)
    places = [k + (STRIDE * counter + index + 1) * GOLDEN for k in key.tolist()]
    drawn = Draws(key, torch.full((4,), counter)).bits(index)
    assert unsigned(drawn) == [splitmix(place % 2**64) for place in places]
    assert torch.equal(drawn, Draws(key, torch.full((4,), counter)).bits(index))


def test_numbers_are_the_upper_bits() -> None:
    bits = unsigned(draws(rows=50).bits(3))
    assert draws(rows=50).uniform(3).tolist() == [(number >> 40) / 2**24 for number in bits]
    assert draws(rows=50).integer(3, 77).tolist() == [(number >> 32) * 77 >> 32 for number in bits]


def test_keys_are_those_of_plain_integers() -> None:
    expected = [splitmix((splitmix(9) + row * GOLDEN) % 2**64) for row in (1, 2, 3)]
    assert unsigned(row_keys(9, 3, device=CPU)) == expected
    assert unsigned(next_keys(row_keys(9, 3, device=CPU))) == [splitmix(key ^ (2**64 - 1)) for key in expected]
    assert unsigned(keys_of(torch.tensor([9, 2**62]))) == [
        splitmix(splitmix(seed) ^ (2**64 - 1)) for seed in (9, 2**62)
    ]  # not those of `row_keys`, so that seeded episodes repeat no row's


def test_a_row_draws_the_same_for_any_number_of_rows() -> None:
    few, many = draws(seed=3, counter=4, rows=5), draws(seed=3, counter=4, rows=500)
    assert torch.equal(few.bits(2), many.bits(2)[:5])
    assert torch.equal(few.uniform(2), many.uniform(2)[:5])
    assert torch.equal(few.integer(2, 11), many.integer(2, 11)[:5])


def test_uniform_covers_its_interval_and_is_uniform() -> None:
    numbers = draws().uniform(0)
    assert numbers.dtype == torch.float32
    assert 0.0 <= float(numbers.min()) < 1e-3
    assert 1 - 1e-3 < float(numbers.max()) < 1.0
    assert torch.equal(numbers * 2**24, (numbers * 2**24).floor())
    for index in (0, 1, 255):
        assert abs(chi_square(torch.histc(draws().uniform(index), 256, 0.0, 1.0))) < 4


@pytest.mark.parametrize("bits", [0, -1])
def test_uniform_of_extreme_bits_is_below_one(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = draws(rows=1)
    monkeypatch.setattr(one, "bits", lambda index: torch.tensor([bits]))
    assert one.uniform(0).tolist() == [0.0 if bits == 0 else 1 - 2.0**-24]
    assert one.integer(0, 2**31).tolist() == [0 if bits == 0 else 2**31 - 1]
    assert one.integer(0, 1).tolist() == [0]


@pytest.mark.parametrize("below", [2, 3, 7, 10, 100])
def test_integers_are_below_their_bound_and_uniform(below: int) -> None:
    numbers = draws(seed=1).integer(1, below)
    assert numbers.dtype == torch.int64
    assert (int(numbers.min()), int(numbers.max())) == (0, below - 1)
    assert abs(chi_square(numbers.bincount(minlength=below).double())) < 4


def test_a_bound_of_each_row() -> None:
    below = torch.arange(ROWS) % 4 + 2
    numbers = draws(seed=2).integer(0, below)
    for bound in range(2, 6):
        mine = numbers[below == bound]
        assert (int(mine.min()), int(mine.max())) == (0, bound - 1)
        assert abs(chi_square(mine.bincount(minlength=bound).double())) < 4
    assert torch.equal(numbers[below == 3], draws(seed=2).integer(0, 3)[below == 3])


def test_no_number_comes_twice() -> None:
    """Over rows, resets and steps, indices, episodes, seeds: each bit pattern is one of its own."""
    drawn = []
    for seed in (0, 1):
        key = row_keys(seed, 16, device=CPU)
        for _ in range(4):
            for counter in range(6):
                drawn += [Draws(key, torch.full((16,), counter)).bits(index) for index in (0, 1, 7, 254, 255)]
            key = next_keys(key)
    drawn += [Draws(keys_of(torch.arange(16)), torch.zeros(16, dtype=torch.int64)).bits(0)]
    everything = torch.cat(drawn)
    assert len(everything.unique()) == len(everything) == 2 * 4 * 6 * 5 * 16 + 16


def test_neighbours_are_not_correlated() -> None:
    here = draws().uniform(0)
    others = {
        "row": here.roll(1),
        "index": draws().uniform(1),
        "step": draws(counter=1).uniform(0),
        "seed": draws(seed=1).uniform(0),
        "episode": Draws(next_keys(row_keys(0, ROWS, device=CPU)), torch.zeros(ROWS, dtype=torch.int64)).uniform(0),
    }
    for name, other in others.items():
        assert abs(correlation(here, other)) < 4, name
    episodes = Draws(keys_of(torch.arange(ROWS)), torch.zeros(ROWS, dtype=torch.int64)).uniform(0)
    assert abs(correlation(episodes, episodes.roll(1))) < 4
    assert abs(chi_square(torch.histc(episodes, 256, 0.0, 1.0))) < 4


@pytest.mark.parametrize("index", [-1, STRIDE])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=f"the index of a draw must be from 0 to 255, got {index}"):
        draws(rows=1).bits(index)
