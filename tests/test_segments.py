"""Sequences cut at episode starts, and the compiled GRU that runs over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gymnast.networks.fast.gru import GRUSequence, add_product, sigmoid, tanh
from gymnast.networks.layers import recurrent, segments
from gymnast.networks.layers.recurrent import Core
from gymnast.networks.layers.segments import Segments


def starts(rows: int, steps: int, share: float, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, steps, generator=torch.Generator().manual_seed(seed)) < share


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_joining_what_was_split_gives_every_step_back(share: float) -> None:
    start = starts(5, 30, share)
    made = Segments(start)
    features = torch.arange(5 * 30 * 2.0).view(5, 30, 2)
    assert torch.equal(made.join(made.split(features), 30), features)
    begins = start.clone()
    begins[:, 0] = True
    assert sum(group.rows for group in made.groups) == int(begins.sum())
    for group, part in zip(made.groups, made.split(features), strict=True):
        lengths = 1 + (part[:, 1:] != part[:, :-1]).any(2).sum(1)  # padding repeats the last step
        assert lengths.max() == group.steps
        assert group.rows * group.steps - int(lengths.sum()) <= segments.PADDING


def test_segments_go_on_with_a_memory_only_at_the_beginning_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "PADDING", 3)
    start = torch.tensor([[False, False, True, False], [True, False, False, False]])
    made = Segments(start)  # of 4 steps (row 1), and of 2 and 2 (row 0), which would be padded by 4
    assert [tuple(group) for group in made.groups] == [(2, 4), (1, 2)]
    memories = made.memories(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert [memory.tolist() for memory in memories] == [[[0.0, 0.0], [1.0, 2.0]], [[0.0, 0.0]]]


@pytest.mark.parametrize(("rows", "steps", "units"), [(1, 1, 5), (1, 9, 8), (2, 7, 6), (5, 11, 12)])
def test_the_compiled_gru_is_torchs(rows: int, steps: int, units: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.GRU(3, units, batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    features = torch.randn(rows, steps, 3, generator=generator, requires_grad=True)
    state = torch.randn(rows, units, generator=generator, requires_grad=True)
    mine = GRUSequence.apply(features, state, *layer.all_weights[0])
    theirs, _ = layer(features, state.unsqueeze(0))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-6)
    weights = torch.randn(mine.shape, generator=generator)
    inputs = [features, state, *layer.parameters()]
    for one, other in zip(
        torch.autograd.grad((mine * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_many_rows_and_other_types_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    core = Core("gru", 3, 4)
    features, memory = torch.randn(3, 6, 3), torch.randn(3, 4)
    few, _ = core._run(features, memory)
    monkeypatch.setattr(recurrent, "FEW_ROWS", 2)
    many, _ = core._run(features, memory)
    double, _ = core.double()._run(features.double(), memory.double())
    assert ["GRUSequence" in type(output.grad_fn).__name__ for output in (few, many, double)] == [True, False, False]
    torch.testing.assert_close(many, few, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(double.float(), few, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rows", "inner"), [(1, 1), (1, 6), (2, 4), (3, 7), (4, 9)])
def test_small_products_are_products(rows: int, inner: int) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(rows, inner)).astype(np.float32), rng.normal(size=(inner, 5)).astype(np.float32)
    out = np.ones((rows, 5), np.float32)
    add_product(left, right, out)
    np.testing.assert_allclose(out, 1 + left @ right, rtol=1e-5, atol=1e-6)


def test_tanh_and_sigmoid_are_close_everywhere_and_keep_nan() -> None:
    for x in np.linspace(-20, 20, 2_001, dtype=np.float32):
        assert abs(tanh(x) - np.tanh(np.float64(x))) < 4e-7
        assert abs(sigmoid(x) - 1 / (1 + np.exp(-np.float64(x)))) < 4e-7
    assert np.isnan(tanh(np.float32(np.nan)))
    assert [float(tanh(np.float32(x))) for x in (-np.inf, 0.0, np.inf)] == pytest.approx([-1.0, 0.0, 1.0], abs=4e-7)
