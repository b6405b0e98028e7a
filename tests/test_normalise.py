"""Running statistics against NumPy's over all data, whatever batches it came in."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.testing import assert_allclose

from gymnast.networks.layers.normalise import EPS, RunningNorm, RunningScale

BOX = spaces.Box(-np.inf, np.inf, (2, 3))
DICT = spaces.Dict(
    {
        "a.b": spaces.Box(-1, 1, (2,), np.float64),
        "choice": spaces.Discrete(3, start=5),
        "choices": spaces.MultiDiscrete([2, 3]),
        "image": spaces.Box(0, 255, (3, 4, 4), np.uint8),
        "integers": spaces.Box(-9, 9, (2,), np.int64),
        "nested": spaces.Tuple([spaces.MultiBinary(2), spaces.Box(-1, 1, ())]),
    }
)


def data(rows: int = 60, *, seed: int = 0) -> np.ndarray:
    """Numbers whose means are large beside their deviations."""
    return np.random.default_rng(seed).normal(1e4, [[1e-1], [1e2]], (rows, 2, 3)).astype(np.float32)


@pytest.mark.parametrize("cuts", [[], [1], [59], [30], [7, 7, 8, 50], list(range(60))])
def test_any_split_gives_the_moments_of_all_data(cuts: list[int]) -> None:
    values = data()
    norm = RunningNorm(BOX)
    for part in np.split(values, cuts):
        norm.update(torch.from_numpy(part))
    exact = values.astype(np.float64)
    assert norm.moments.count == 60
    assert_allclose(norm.moments.mean, exact.mean(0), rtol=1e-12)
    assert_allclose(norm.moments.var, exact.var(0), rtol=1e-8)
    normal = norm(torch.from_numpy(values))
    assert normal.dtype == torch.float32
    assert_allclose(normal, (exact - exact.mean(0)) / np.sqrt(exact.var(0) + EPS), rtol=1e-4, atol=1e-5)


def test_leading_axes_are_any() -> None:
    values = torch.from_numpy(data())
    flat, nested = RunningNorm(BOX), RunningNorm(BOX)
    weight = torch.arange(60) % 3 > 0
    flat.update(values, weight)
    nested.update(values.view(5, 12, 2, 3), weight.view(5, 12))
    assert torch.equal(flat.moments.mean, nested.moments.mean)
    assert torch.equal(flat(values).view(5, 12, 2, 3), nested(values.view(5, 12, 2, 3)))


@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_weights_choose_rows(kind: torch.dtype) -> None:
    values, chosen = data(), np.random.default_rng(1).random(60) < 0.5
    seen = values.copy()
    seen[~chosen] = np.nan  # what does not count may be anything
    norm = RunningNorm(BOX)
    for rows, weight in zip(np.split(seen, [20, 30]), np.split(chosen, [20, 30]), strict=True):
        norm.update(torch.from_numpy(rows), torch.from_numpy(weight).to(kind))
    assert norm.moments.count == chosen.sum()
    assert_allclose(norm.moments.mean, values[chosen].astype(np.float64).mean(0), rtol=1e-12)
    assert_allclose(norm.moments.var, values[chosen].astype(np.float64).var(0), rtol=1e-8)


def test_fractional_weights_count_in_part() -> None:
    scale = RunningScale()
    scale.update(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.0]))
    scale.update(torch.tensor([4.0]), torch.tensor([0.5]))
    mean = (0.5 * 1 + 2 + 0.5 * 4) / 2
    variance = (0.5 * (1 - mean) ** 2 + (2 - mean) ** 2 + 0.5 * (4 - mean) ** 2) / 2
    assert scale.count == 2
    assert scale.std().item() == pytest.approx(math.sqrt(variance))


@pytest.mark.parametrize("before", [0, 60])
def test_a_batch_of_no_rows_changes_nothing(before: int) -> None:
    norm = RunningNorm(BOX)
    if before:
        norm.update(torch.from_numpy(data(before)))
    kept = copy.deepcopy(norm.state_dict())
    norm.update(torch.from_numpy(data(4, seed=1)), torch.zeros(4, dtype=torch.bool))
    norm.update(torch.empty(0, 2, 3))
    assert all(torch.equal(kept[name], value) for name, value in norm.state_dict().items())


def test_before_any_update_it_clips_alone() -> None:
    norm = RunningNorm(BOX, clip=2.0)
    values = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(norm(values), values.clamp(-2, 2))
    assert RunningScale().std() == 1
    with pytest.raises(ValueError, match=r"clip must be > 0, got 0\.0"):
        RunningNorm(BOX, clip=0.0)


def test_what_never_changes_stays_finite() -> None:
    norm, scale = RunningNorm(BOX), RunningScale()
    for _ in range(3):
        norm.update(torch.full((4, 2, 3), 0.1))
        scale.update(torch.full((4,), 0.1))
    assert (norm(torch.full((4, 2, 3), 0.1)).abs() < 1e-4).all()
    assert (norm(torch.full((1, 2, 3), 5.0)) == 10).all()
    assert (norm(torch.full((1, 2, 3), -5.0)) == -10).all()
    assert scale.std().item() == pytest.approx(1e-4, rel=1e-3)


def observations(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "a.b": torch.from_numpy(rng.normal(3, 2, (rows, 2))),
        "choice": torch.from_numpy(rng.integers(5, 8, rows)),
        "choices": torch.from_numpy(rng.integers(0, 2, (rows, 2))),
        "image": torch.from_numpy(rng.integers(0, 256, (rows, 3, 4, 4), np.uint8)),
        "integers": torch.from_numpy(rng.integers(-9, 10, (rows, 2))),
        "nested": {
            "0": torch.from_numpy(rng.integers(0, 2, (rows, 2), np.int8)),
            "1": torch.from_numpy(rng.normal(-1, 5, rows).astype(np.float32)),
        },
    }


def test_only_floats_of_a_dict_are_normalised() -> None:
    norm = RunningNorm(DICT, clip=5.0)
    first, second = observations(10, 0), observations(30, 1)
    norm.update(first)
    norm.update(second, torch.ones(30))
    seen = norm(second)
    for key in ("choice", "choices", "image", "integers"):
        assert seen[key] is second[key]
    assert seen["nested"]["0"] is second["nested"]["0"]
    for mine, all_data, given in (
        (seen["a.b"], torch.cat([first["a.b"], second["a.b"]]), second["a.b"]),
        (seen["nested"]["1"], torch.cat([first["nested"]["1"], second["nested"]["1"]]), second["nested"]["1"]),
    ):
        exact = all_data.double().numpy()
        assert mine.dtype == torch.float32
        assert_allclose(mine, ((given.double().numpy() - exact.mean(0)) / exact.std(0)).clip(-5, 5), rtol=1e-5)
    assert set(seen) == set(DICT.spaces)


def test_state_dict_round_trip() -> None:
    norm, scale = RunningNorm(DICT), RunningScale()
    norm.update(observations(10, 0))
    scale.update(torch.arange(5.0))
    other, other_scale = RunningNorm(DICT), RunningScale()
    other.load_state_dict(norm.state_dict())
    other_scale.load_state_dict(scale.state_dict())
    for one in (norm, other):  # and they go on alike
        one.update(observations(7, 1))
    assert norm.state_dict().keys() == other.state_dict().keys()
    assert len(norm.state_dict()) == 6
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in norm.state_dict().items())
    assert torch.equal(scale.std(), other_scale.std())
    assert scale.std().item() == pytest.approx(math.sqrt(2))
    assert scale.std().shape == ()
    assert not list(norm.parameters())


def test_it_compiles_without_a_break() -> None:
    eager, compiled = RunningNorm(BOX), RunningNorm(BOX)
    values, weight = torch.from_numpy(data()), torch.arange(60) % 2 == 0

    @torch.compile(backend="eager", fullgraph=True)
    def step(values: torch.Tensor, weight: torch.Tensor) -> Any:
        compiled.update(values, weight)
        return compiled(values)

    eager.update(values, weight)
    assert torch.equal(step(values, weight), eager(values))
