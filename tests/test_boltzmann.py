"""Boltzmann machines against sums over all states, and `gymnast pretrain energy`."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import gymnast.fitting.data
from gymnast.agents.supervised.energy.boltzmann import BoltzmannConfig
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.fitting.fit import fit
from gymnast.networks.energy.boltzmann import Boltzmann
from gymnast.networks.energy.states import states, total_variation
from gymnast.replay.datasets.labelled import Labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.storage.encoder import read_encoder


def machine(visible: int, hidden: int = 0, *, size: float = 1.0) -> Boltzmann:
    generator = torch.Generator().manual_seed(0)
    made = Boltzmann(visible, hidden, generator=generator)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return made


@torch.no_grad()
def test_probabilities_equal_a_naive_sum_over_all_states() -> None:
    made = machine(3, 2)
    weight, bias = made.weight.tolist(), made.bias.tolist()
    assert torch.equal(made.weight, made.weight.T)
    assert made.weight.diagonal().tolist() == [0] * 5
    total: dict[tuple[int, ...], float] = {}
    for state in itertools.product((0, 1), repeat=5):
        energy = -sum(bias[i] * state[i] for i in range(5))
        energy -= sum(weight[i][j] * state[i] * state[j] for i in range(5) for j in range(i + 1, 5))
        total[state[:3]] = total.get(state[:3], 0.0) + math.exp(-energy)
    wanted = torch.tensor(list(total.values())) / sum(total.values())
    assert torch.allclose(made.log_probability().exp(), wanted, atol=1e-6)


@torch.no_grad()
def test_samples_match_the_enumerated_distribution() -> None:
    made, generator = machine(4, 2), torch.Generator().manual_seed(1)
    probability = made.log_probability().exp()
    start = torch.randint(2, (20_000, 6), generator=generator).float()
    assert total_variation(start[:, :4], probability) > 0.2
    assert total_variation(made.gibbs(start, 50, generator)[:, :4], probability) < 0.05
    clamped = made.gibbs(start, 5, generator, clamped=True)
    assert torch.equal(clamped[:, :4], start[:, :4])
    assert not torch.equal(clamped[:, 4:], start[:, 4:])


def test_the_sampled_gradient_is_the_exact_one_up_to_noise() -> None:
    made, generator = machine(4, 2, size=0.7), torch.Generator().manual_seed(1)
    data = states(4, dtype=torch.float32)[[3, 3, 5, 12]].repeat(10_000, 1)
    exact = torch.autograd.grad(-made.log_probability()[[3, 3, 5, 12]].mean(), [made.pairs, made.bias])
    phases = made.phases(data, 40, generator)
    sampled = torch.autograd.grad(made.divergence(*phases), [made.pairs, made.bias])
    for one, other in zip(exact, sampled, strict=True):
        assert float(one.abs().max()) > 0.1
        assert torch.allclose(one, other, atol=0.02)
    clamped, free = phases
    products = free[:, 0] * free[:, 1] - clamped[:, 0] * clamped[:, 1]
    assert float(sampled[0][0]) == pytest.approx(float(products.mean()), abs=1e-4)


def parity() -> Tensor:
    """Three bits with an even sum: every two of them are independent, so that pairs of units cannot tell."""
    every = states(3, dtype=torch.float32)
    return every[every.sum(1) % 2 == 0].repeat(64, 1)


@pytest.fixture
def bits(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = parity()
    index = torch.arange(len(inputs))
    made = Labelled(
        "digits",
        spaces.Box(0.0, 1.0, (3,), np.float32),
        inputs,
        torch.zeros(len(inputs), dtype=torch.int64),
        ("even",),
        {"train": index, "validation": index},
    )
    monkeypatch.setattr(gymnast.fitting.data, "labelled", lambda name, *, seed: made)


def options(out: Path, **changes: Any) -> FitOptions:
    return FitOptions(**{"dataset": "digits", "out": str(out), "name": "r", "epochs": 60, **changes})


def test_parity_needs_hidden_units(tmp_path: Path, bits: None) -> None:
    """Without them the best is a uniform distribution, half of it on states that never occur."""
    plain = fit("energy-boltzmann", options(tmp_path, name="plain"), BoltzmannConfig(learning_rate=0.05)).measures
    config = BoltzmannConfig(learning_rate=0.05, hidden_sizes=(4,))
    hidden = fit("energy-boltzmann", options(tmp_path, epochs=200), config).measures
    assert plain is not None
    assert hidden is not None
    assert plain["entropy"] == hidden["entropy"] == pytest.approx(math.log(4))
    assert plain["total_variation"] == pytest.approx(0.5, abs=0.05)
    assert hidden["total_variation"] < 0.1
    assert hidden["log_likelihood"] > -math.log(4) - 0.1


@pytest.mark.slow
def test_gibbs_samples_learn_nearly_as_well_and_the_same_every_time(tmp_path: Path, bits: None) -> None:
    config = BoltzmannConfig(learning_rate=0.05, hidden_sizes=(4,), loss="gibbs")
    runs = [fit("energy-boltzmann", options(tmp_path, name=str(n), epochs=150), config) for n in range(2)]
    assert runs[0].measures == runs[1].measures is not None
    assert runs[0].measures["log_likelihood"] > -1.75  # -2.08 of a uniform distribution
    with pytest.raises(UsageError, match="fits energy-boltzmann, which has no backbone"):
        read_encoder(runs[0].path)


def test_observations_of_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    words = [
        "pretrain",
        "energy",
        "--kind",
        "boltzmann",
        "--env",
        "FrozenLake-v1",
        "--env-steps",
        "300",
        "--epochs",
        "1",
    ]
    assert main([*words, "--name", "r"]) == 0
    assert main(["evaluate", "runs/FrozenLake-v1/energy-boltzmann/r"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "mlp"], "--network mlp has no effect on a Boltzmann machine"),
        (["--hidden-sizes", "2", "2"], "--hidden-sizes of a Boltzmann machine must be one number, got 2"),
        (["--gibbs-steps", "0"], "--gibbs-steps must be >= 1, got 0"),
        ([], "at most 16 in all, got 64 visible and 0 hidden"),
        (["--dataset", "spirals"], "needs observations of zeros and ones, and spirals has others"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = words if "--dataset" in words else ["--dataset", "digits", *words]
    assert main(["pretrain", "energy", "--kind", "boltzmann", *given]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error, error
