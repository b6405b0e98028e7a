"""The Wasserstein autoencoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gymnast
from gymnast.agents.supervised.autoencoders.wasserstein import WassersteinConfig
from gymnast.cli.main import main
from gymnast.fitting import pictures
from gymnast.fitting.fit import fit
from gymnast.networks.autoencoders.wasserstein import discrepancy
from gymnast.settings.fit_options import FitOptions


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: {})
    monkeypatch.setattr(pictures, "curve", lambda folder, _: folder / "curve.png")


def kernel(one: np.ndarray, other: np.ndarray) -> float:
    distance = float(((one - other) ** 2).sum())
    return sum(2 * len(one) * scale / (2 * len(one) * scale + distance) for scale in (0.1, 0.2, 0.5, 1, 2, 5, 10))


@pytest.mark.parametrize("counts", [(7, 7), (5, 8)])
def test_the_discrepancy_is_that_of_loops_over_pairs(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    latent, drawn = (rng.normal(number, 1.0 + number, (count, 3)) for number, count in enumerate(counts))

    def within(points: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j]
        return sum(kernel(points[i], points[j]) for i, j in pairs) / len(pairs)

    between = [kernel(one, other) for one in latent for other in drawn]
    wanted = within(latent) + within(drawn) - 2 * sum(between) / len(between)
    assert discrepancy(torch.from_numpy(latent), torch.from_numpy(drawn)).item() == pytest.approx(wanted, rel=1e-9)
    single = discrepancy(torch.from_numpy(latent).float(), torch.from_numpy(drawn).float()).item()
    assert single == pytest.approx(wanted, abs=1e-4)


def test_the_discrepancy_has_no_bias_and_a_gradient_towards_the_prior() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn() -> torch.Tensor:
        return torch.randn(20, 4, generator=generator)

    same = torch.tensor([float(discrepancy(drawn(), drawn())) for _ in range(400)])
    assert abs(same.mean().item()) < 3 * same.std().item() / 20
    assert (same < 0).float().mean().item() > 0.2  # an unbiased estimate of 0
    latent = (drawn() + 2.0).requires_grad_()
    found = discrepancy(latent, drawn())
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() > 1.0
    assert latent.grad is not None
    assert torch.isfinite(latent.grad).all()
    assert (latent.grad.mean(0) > 0).all()
    one = torch.zeros(1, 4, requires_grad=True)
    discrepancy(one, torch.ones(1, 4)).backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(one.grad).all()  # type: ignore[arg-type]


def test_latents_become_normal_and_samples_better(tmp_path: Path) -> None:
    found: dict[float, Any] = {}
    for weight in (0.0, 1.0):
        config = WassersteinConfig(network="mlp", hidden_sizes=(64,), linear_probe=False, mmd_weight=weight)
        result = fit(
            "autoencoder-wasserstein", FitOptions(dataset="digits", out=str(tmp_path / str(weight)), epochs=8), config
        )
        found[weight] = result.measures
    assert found[1.0]["mmd"] < 0.15 < 0.5 < found[0.0]["mmd"]
    assert found[1.0]["frechet"] < found[0.0]["frechet"]
    assert found[1.0]["recall"] > 2 * found[0.0]["recall"]
    assert found[1.0]["r2"] > 0.4
    error = found[1.0]["loss"] - found[1.0]["mmd"]
    assert error == pytest.approx(1.0 - found[1.0]["r2"], abs=0.1)  # in units of the variance
    model = gymnast.load(result.path)
    assert model.sample(3, temperature=0.0).std(0).max() == 0.0
    assert model.sample(3).std(0).max() > 0.0


def test_a_bad_weight_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kind", "wasserstein", "--dataset", "digits", "--mmd-weight", "-1"]
    assert main(["pretrain", "autoencoder", *words]) == 2
    assert "--mmd-weight must be >= 0, got -1" in capsys.readouterr().err
